"""The HTML page of a report.

What it shows of others (ids, labels, prompts, replies) is text, and never markup.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from img2loc.bench.reports import plots
from img2loc.bench.reports.leaks import not_compared, without_photos
from img2loc.bench.reports.rows import Row, Scored, flags_of
from img2loc.bench.scores.outcomes import DISTANCES, Distance
from img2loc.core.geo import THRESHOLDS_KM, Array, distances_km
from img2loc.core.places import country_codes, place_at
from img2loc.core.types import Location

_CURVE_KM = 25


def render(
    scored: Sequence[Scored],
    rows: Sequence[Row],
    differences: Sequence[dict[str, Any]],
    distance: Distance,
    links: Mapping[str, str],
) -> str:
    """The page as one text that needs no other file, but for the photographs that it links."""
    from jinja2 import Environment, StrictUndefined

    errors = [one.outcomes.errors_km(distance) for one in scored]
    runs = [(one.outcomes, km) for one, km in zip(scored, errors, strict=True)]
    scores = {one.outcomes.name: one.scores for one in scored}
    figures = [
        ("Error", plots.error_cdf(runs)),
        (f"Risk and coverage at {_CURVE_KM} km", plots.risk_coverage(scores, _CURVE_KM)),
        ("The radius that was promised", plots.coverage(scores)),
        ("Radius or spread, and what it holds", plots.inside_by_radius(scores)),
        ("How large it is", plots.radii([one.outcomes for one in scored])),
    ]
    notes = flags_of(rows)
    template = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string((files("img2loc.bench.reports") / "page.html.j2").read_text(encoding="utf-8"))
    text = template.render(
        scored=scored,
        rows=rows,
        benchmarks=list(dict.fromkeys(row.benchmark for row in rows)),
        without_photos=without_photos,
        not_compared=not_compared,
        notes=notes,
        marks={note: number for number, note in enumerate(notes, 1)},
        differences=differences,
        distance=DISTANCES[distance],
        thresholds=[str(km) for km in THRESHOLDS_KM],
        figures=[(title, address) for title, address in figures if address],
        maps=[(outcomes.name, plots.error_map(outcomes, km)) for outcomes, km in runs],
        continents=list(dict.fromkeys(name for one in scored for name in one.scores["continents"])),
        countries=_countries(scored),
        about={
            one.outcomes.name: json.dumps(one.run.about, indent=1, ensure_ascii=False)
            for one in scored
        },
        data=_script({"runs": list(scores), "photos": list(_photos(scored, errors, links))}),
    )
    return text.encode("utf-8", "backslashreplace").decode()  # Lone surrogates, of a reply.


def _script(content: Any) -> str:
    """JSON for a <script> element, marked as safe: no text in it can end the element."""
    from markupsafe import Markup

    return Markup(
        json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    )


def _photos(
    scored: Sequence[Scored], errors: Sequence[Array], links: Mapping[str, str]
) -> Iterator[list[Any]]:
    """For each photograph [id, lat, lon, country, link, one entry a run or null]."""
    place: dict[str, tuple[float, float, str]] = {}
    for one in scored:
        codes = country_codes(one.outcomes.truth)
        for name, (lat, lon), code in zip(
            one.outcomes.ids, one.outcomes.truth.tolist(), codes, strict=True
        ):
            place.setdefault(name, (lat, lon, code))
    entries = [dict(_entries(one, km)) for one, km in zip(scored, errors, strict=True)]
    for name, (lat, lon, code) in place.items():
        yield [name, lat, lon, code, links.get(name, ""), [of_run.get(name) for of_run in entries]]


def _entries(one: Scored, errors: Array) -> Iterator[tuple[str, dict[str, Any]]]:
    outcomes = one.outcomes
    for row, name in enumerate(outcomes.ids):
        record = one.run.predictions.get(name, {})
        answered = not np.isnan(errors[row])
        entry: dict[str, Any] = {
            "status": outcomes.status[row],
            "km": round(float(errors[row]), 3) if answered else None,
        }
        if answered:
            entry["at"] = outcomes.guess[row].tolist()
        for key in ("radius", "spread"):
            if not np.isnan(value := getattr(outcomes, f"{key}_km")[row]):
                entry[key] = round(float(value), 1)
        for side in ("nearest", "farthest"):
            entry[side] = _neighbours(record.get(side) or [], outcomes.truth[row])
        entry["prompts"] = [str(text) for text in record.get("prompts") or []]
        entry["replies"] = [
            {key: str(reply.get(key) or "") for key in ("model", "status", "detail", "text")}
            for reply in record.get("replies") or []
        ]
        entry["detail"] = str(record.get("detail") or "")
        yield name, {key: value for key, value in entry.items() if value not in ([], "")}


def _neighbours(records: Sequence[Mapping[str, Any]], truth: Array) -> list[list[Any]]:
    """[lat, lon, similarity, km from the truth, id, label] of each."""
    points = np.array([[near["lat"], near["lon"]] for near in records], dtype=np.float64)
    points = points.reshape(-1, 2)
    kms = distances_km(points, truth).round(1).tolist()
    texts = [(str(near.get("id", "")), str(near.get("label", ""))) for near in records]
    return [
        [*point, near.get("similarity"), km, *text]
        for near, point, km, text in zip(records, points.round(5).tolist(), kms, texts, strict=True)
    ]


def _countries(scored: Sequence[Scored]) -> list[tuple[str, str, list[dict[str, Any] | None]]]:
    """(code, name, the figures of each run or None) of each country, most photographs first."""
    example: dict[str, Location] = {}
    for one in scored:
        for code, (lat, lon) in zip(
            country_codes(one.outcomes.truth), one.outcomes.truth.tolist(), strict=True
        ):
            example.setdefault(code, Location(lat, lon))
    tables = [one.scores["countries"] for one in scored]
    codes = sorted(
        example, key=lambda code: -max(table.get(code, {"n": 0})["n"] for table in tables)
    )
    towns = {code: place_at(at) for code, at in example.items()}
    return [
        (
            code,
            town.country if (town := towns[code]) else "far from any town",
            [table.get(code) for table in tables],
        )
        for code in codes
    ]
