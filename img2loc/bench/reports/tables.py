"""Scores → plain tables of at most 80 columns, for people at a terminal."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from img2loc.bench.reports.leaks import (
    NOT_COMPARED,
    not_compared,
    not_excluded,
    without_photos,
)
from img2loc.bench.scores.score import Scores
from img2loc.core.geo import THRESHOLDS_KM

_PLACES = 12


def score_table(scores: Scores) -> str:
    """The scores of one run; one block of intervals for each way in which they were drawn."""
    return "\n".join(_score_lines(scores))


def _score_lines(scores: Scores) -> Iterator[str]:
    n, answered = scores["n"], scores["answered"]
    yield (
        f"{scores['name']}: {n:,} photos, {answered:,} answered ({scores['answered_share']:.1f} %)"
    )
    counted = ", ".join(
        f"{said} {kept['n']:,}" for said, kept in scores["status"].items() if kept["n"]
    )
    yield textwrap.fill(counted, 80, initial_indent="  ", subsequent_indent="  ")
    yield f"Distance: {scores['distance']['model']}; within means {scores['distance']['compare']}."
    for unit, drawn in (scores["intervals"] or {"": None}).items():
        yield ""
        yield (
            f"{'within':>8}  {f'of all {n:,} photos':<27}"
            f" {f'of the {answered:,} answered only':<27}".rstrip()
        )
        for km in map(str, THRESHOLDS_KM):
            cells = [
                _cell(scores[kind][km], drawn and drawn[kind][km])
                for kind in ("accuracy", "accuracy_answered")
            ]
            yield f"{km:>5} km  {cells[0]:<27} {cells[1]}".rstrip()
        yield (
            f"   score  {_cell(scores['geoguessr'], drawn and drawn['geoguessr'], '')} (GeoGuessr,"
            " all photos)"
        )
        for key in ("median", "mean"):
            value = _cell(scores[f"{key}_km"], drawn and drawn[f"{key}_km"], " km")
            yield f"{key:>8}  {value} (answered photos only)"
        if drawn:
            yield textwrap.fill(
                f"  [ ]: {drawn['level']} % bootstrap intervals {over(drawn, unit)}",
                80,
                subsequent_indent="    ",
            )
    yield ""
    yield "Per cent of all photos within …, by where they were taken:"
    yield f"{'photos of':<16} {'n':>5} {'answered':>8}    1 km     25    200    750   2500"
    for name, held in scores["continents"].items():
        yield _place_line(name, held)
    for name, held in list(scores["countries"].items())[:_PLACES]:
        yield _place_line(f"  {name}", held)
    if more := len(scores["countries"]) - _PLACES:
        yield f"  … and {more} countries more (--json)" if more > 0 else ""
    yield from _trust_lines(scores)


def _trust_lines(scores: Scores) -> Iterator[str]:
    held, curve, leaks = scores["calibration"], scores["risk_coverage"], scores["leaks"]
    if held["n"]:
        promised = f", {held['nominal']:g} % are promised" if held["nominal"] else ""
        low, high = held["interval"]
        line = (
            f"The {held['of']} of an answer holds the truth for {held['inside']:.1f} %"
            f" [{low:.1f} {high:.1f}] of the {held['n']:,} that have one{promised}."
        )
        yield textwrap.fill(line, 80, subsequent_indent="  ")
    if scores["calibrated"]:
        yield from _calibrated_lines(scores["calibrated"])
    if curve:
        area = curve["thresholds"]["25"]
        yield (
            f"At most 10 % of answers over 25 km wrong: for {area['answered_at_risk']:.1f} % of all"
            " photos."
        )
        yield (
            f"Risk–coverage at 25 km: area {area['area']:.1f} % of answers (random order"
            f" {area['area_random']:.1f}, best {area['area_best']:.1f})."
        )
        yield "  Wrong among the share of all photos that it is surest of, no answer last:"
        yield "  " + "".join(f"{share:>6} %" for share in area["risk_of_all"])
        yield "  " + "".join(f"{risk:>8.1f}" for risk in area["risk_of_all"].values())
    if said := without_photos(leaks):
        yield textwrap.fill(f"Leaks: {said}.", 80, subsequent_indent="  ")
        return
    near, unchecked = leaks["near_duplicates"], leaks["unchecked"]
    if unchecked["n"] == scores["n"]:
        yield "Leaks: similarity to a gallery not known for any photo."
    else:
        yield (
            f"Leaks: {near['n']:,} photos have a gallery row of similarity ≥ {leaks['similarity']}"
            f" ({near['share']:.1f} %)."
        )
        if unchecked["n"]:
            yield (
                f"  Similarity not known for {unchecked['n']:,} photos"
                f" ({unchecked['share']:.1f} %)."
            )
    if near["n"]:
        apart = [
            leaks[key]["accuracy"]["25"] for key in ("scores_near_duplicates", "scores_without")
        ]
        yield (
            f"  Within 25 km: {_percent(apart[0])} of those, {_percent(apart[1])} of those known to"
            " have none."
        )
    if not_excluded(leaks):
        yield f"  {NOT_EXCLUDED}"
        return
    alone = leaks["exclusion_unchecked"]
    rows = "not known" if leaks["rows_excluded"] is None else f"{leaks['rows_excluded']:,}"
    yield (
        f"  Rows kept out: {rows}; photographer not checked for {alone['n']:,} photos"
        f" ({alone['share']:.1f} %)."
    )
    if not_compared(leaks):
        yield f"  {NOT_COMPARED}"


NOT_EXCLUDED = "Rows of the photo's own id and photographer were searched (--no-exclude)."


def _calibrated_lines(calibrated: Mapping[str, Any]) -> Iterator[str]:
    yield "Calibrated radius: per cent of answers whose radius holds the truth:"
    yield f"{'promised':>10} {'measured':>9} {'interval':>15} {'answers':>8} {'median radius':>15}"
    for share, held in calibrated.items():
        if not held["n"]:
            yield f"{100 * float(share):8g} %         –  (too few photos for such a share)"
            continue
        low, high = held["interval"]
        yield (
            f"{100 * float(share):8g} % {held['coverage']:7.1f} %   [{low:5.1f} {high:5.1f}]"
            f" {held['n']:8,} {held['median_radius_km']:12,.1f} km"
        )
    last, held = list(calibrated.items())[-1]
    if not held["n"]:
        return
    yield f"  Of {100 * float(last):g} %, by tenths of the answers, and by continent:"
    for one in held["groups"]:
        yield (
            f"  {one['from_km']:10,.1f} to {one['to_km']:10,.1f} km {one['inside']:7.1f} %"
            f" {one['n']:6,}"
        )
    for name, one in held["continents"].items():
        yield f"  {name:<27} {one['inside']:7.1f} % {one['n']:6,}"


def over(drawn: Scores, unit: str) -> str:
    """What a bootstrap resampled, in words."""
    known, others = drawn["photographers"], drawn["without_photographer"]
    if unit == "photos":
        return f"over {drawn['clusters']:,} photos"
    if not known:
        return f"over {drawn['clusters']:,} single photos: photographers are not known"
    rest = f" and {others:,} photos without a known one" if others else ""
    return f"over {known:,} photographers{rest}"


def comparison_table(result: dict[str, Any], listed: int = 10) -> str:
    """The differences of two runs, and the worst regressions."""
    drawn, answered = result["intervals"], result["answered"]
    lines = [
        *_not_run(result),
        f"first:  {result['first']} ({answered['first']:,} answered)",
        f"second: {result['second']} ({answered['second']:,} answered)",
        f"{result['n']:,} photos in both; {result['only_first']:,} only in the first,"
        f" {result['only_second']:,} only in the second.",
        f"Distance: {result['distance']['model']}; within means {result['distance']['compare']}.",
        "A photo without an answer is never right.",
        "",
        f"{'within':>8} {'first':>7} {'second':>7} {'difference':>11}  {'95 % interval':<17}"
        f" {'p':>7} {'gained':>7} {'lost':>6}",
    ]
    for km, row in result["thresholds"].items():
        between = _interval(row["interval"], "+.2f")
        lines.append(
            f"{km:>5} km {row['first']:7.2f} {row['second']:7.2f} {row['difference']:+11.2f} "
            f" {between:<17} {row['p']:7.4f} {len(row['gained']):7,} {len(row['lost']):6,}"
        )
    points = result["geoguessr"]
    lines += [
        f"GeoGuessr points: {points['difference']:+.1f} {_interval(points['interval'], '+.1f')}",
        textwrap.fill(
            f"Intervals: paired bootstrap {over(drawn, drawn['over'])}.", 80, subsequent_indent="  "
        ),
        "p: McNemar, exact, as if photos were independent.",
    ]
    if worst := result["regressions"][:listed]:
        lines += [
            "",
            f"Worst regressions ({len(result['regressions']):,} photos are placed farther away):",
        ]
        lines += [
            f"  {_km(row['first_km'], row['first_status']):>10} →"
            f" {_km(row['second_km'], row['second_status']):<12} {row['id']}"
            for row in worst
        ]
    return "\n".join(lines)


def _not_run(result: dict[str, Any]) -> list[str]:
    return [
        f"{count:,} of these photos were not run in the {which}: they count as wrong."
        for which, count in result["not_run"].items()
        if count
    ]


def _place_line(name: str, held: Scores) -> str:
    shares = "".join(f"{held['accuracy'][str(km)]:7.1f}" for km in THRESHOLDS_KM)
    return f"{name:<16} {held['n']:>5,} {held['answered']:>8,}   {shares}"


def _cell(value: float | None, interval: Sequence[float] | None, unit: str = " %") -> str:
    """A figure and its interval."""
    if value is None:
        return "–"
    return f"{value:6.1f}{unit} {_interval(interval, '.1f')}".rstrip()


def _interval(interval: Sequence[float] | None, form: str) -> str:
    return f"[{interval[0]:{form}}, {interval[1]:{form}}]" if interval else ""


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} %"


def _km(value: float | None, status: str) -> str:
    return status if value is None else f"{value:,.1f} km"
