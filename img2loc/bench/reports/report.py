"""Runs → a report beside published numbers: one HTML page, Markdown, CSV or JSON."""

import csv
import io
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from img2loc.bench.datasets.benchmark import find, known
from img2loc.bench.reports.leaks import NOT_COMPARED, not_compared, not_excluded, without_photos
from img2loc.bench.reports.rows import Row, Scored, flags_of
from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.compare import compare
from img2loc.bench.scores.outcomes import Distance, of_run
from img2loc.bench.scores.published import rows_of
from img2loc.bench.scores.score import score
from img2loc.core.errors import SourceError
from img2loc.core.geo import THRESHOLDS_KM

Form = Literal["html", "md", "csv", "json"]
OURS = "this run"
_COLUMNS = [str(km) for km in THRESHOLDS_KM]


def render(
    runs: Sequence[tuple[str, Run]],
    form: Form,
    distance: Distance = "great-circle",
    photos: Path | None = None,
    beside: Path = Path(),
) -> str:
    """The report's text.

    `photos` is a folder of photographs to link, relative to `beside`, where the report will lie.
    """
    scored = []
    for name, run in runs:
        outcomes = of_run(run, name)
        scored.append(Scored(run, outcomes, score(outcomes, distance)))
    rows = table(scored)
    if form == "json":
        content = {
            "runs": [{**one.scores, "about": one.run.about} for one in scored],
            "published": [asdict(row) for row in rows if row.whose != OURS],
        }
        return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "csv":
        return _as_csv(rows)
    if form == "md":
        return _as_markdown(rows, scored)
    from img2loc.bench.reports import page

    return page.render(
        scored, rows, differences(scored, distance), distance, _links(scored, photos, beside)
    )


def table(scored: Sequence[Scored]) -> list[Row]:
    """For each benchmark the runs, then what is published on it, best within 25 km first."""
    rows = []
    for benchmark in dict.fromkeys(one.benchmark for one in scored):
        runs = [one for one in scored if one.benchmark == benchmark]
        rows += [_own_row(one) for one in runs]
        if any(_is_published(one) for one in runs):
            for row in rows_of(benchmark):
                about = (row.source, row.protocol, row.differs)
                rows.append(
                    Row(row.name, benchmark, row.whose, row.accuracy, {}, None, None, *about)
                )
    return rows


def _own_row(one: Scored) -> Row:
    scores = one.scores
    over = scores["intervals"]["photographers"]["accuracy"]
    shares = (scores["accuracy"], over, scores["n"], scores["answered_share"])
    return Row(one.outcomes.name, one.benchmark, OURS, *shares, "", "", _own_flags(one))


def _is_published(one: Scored) -> bool:
    """Whether a run is over the benchmark of that name: by our recipe, or by the same rows."""
    facts = one.run.about.get("truth") or {}
    if facts.get("shipped"):
        return True
    return one.benchmark in known() and facts.get("rows_sha256") == (
        find(one.benchmark).rows_sha256 or "not known"
    )


def _own_flags(one: Scored) -> tuple[str, ...]:
    """Where a run of ours is not the whole benchmark, or not under its rules."""
    about, flags = one.run.about, []
    facts, leaks = about.get("truth") or {}, one.scores["leaks"]
    flags += [f"another truth file: {doubt}" for doubt in facts.get("doubts") or ()]
    if left_out := facts.get("left_out"):
        flags.append(f"{left_out:,} rows of the truth file could not be used and were left out")
    if rows_of(one.benchmark) and not _is_published(one):
        flags.append(
            f"its truth is not known to be that of {one.benchmark}: published figures do not"
            " compare with it"
        )
    if limit := (about.get("selection") or {}).get("limit"):
        flags.append(f"part of the benchmark's photos (--limit {limit})")
    if missing := one.scores["status"]["missing"]["n"]:
        flags.append(f"not finished: {missing:,} photos were not run, and count as wrong")
    if (leaks["truth_coordinates"] or {}).get("n"):
        flags.append(f"a leak: {without_photos(leaks)}")
    if leaks["searched"] in ("photos", None):
        if not_excluded(leaks):
            flags.append("rows of the photo's own id and photographer were searched (--no-exclude)")
        elif unchecked := leaks["exclusion_unchecked"]["share"]:
            flags.append(
                f"for {unchecked:.1f} % of the photos gallery rows by their photographer could not"
                " be kept out"
            )
        if not_compared(leaks):
            flags.append(NOT_COMPARED.rstrip("."))
    return tuple(flags)


def differences(scored: Sequence[Scored], distance: Distance) -> list[dict[str, Any]]:
    """The comparison of each further run with the first, where they have photographs in common."""
    compared = []
    for one in scored[1:]:
        try:
            compared.append(compare(scored[0].outcomes, one.outcomes, distance))
        except SourceError:
            continue  # Runs of two benchmarks stand side by side all the same.
    return compared


def _links(scored: Sequence[Scored], photos: Path | None, beside: Path) -> dict[str, str]:
    """Photograph id → its address relative to the report, for those that lie in the folder."""
    if photos is None:
        return {}
    if not photos.is_dir():
        raise SourceError(
            f"There is no folder {photos}. Name the folder of the photographs, or leave --photos"
            " out."
        )
    links: dict[str, str] = {}
    for one in scored:
        for name in one.outcomes.ids:
            as_run = Path(str(one.run.predictions.get(name, {}).get("photo") or name))
            for file in (photos / name, as_run):
                if (
                    name not in links
                    and file.resolve().is_relative_to(photos.resolve())
                    and file.is_file()
                ):
                    links[name] = Path(os.path.relpath(file, beside)).as_posix()
    return links


def _as_csv(rows: Sequence[Row]) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    bounds = [f"{bound}_{km}" for km in _COLUMNS for bound in ("low", "high")]
    head = ["name", "benchmark", "whose", "n", "answered_share", *_COLUMNS, *bounds]
    writer.writerow([*head, "source", "protocol", "differs"])
    for row in rows:
        cells = [row.name, row.benchmark, row.whose, row.n, row.answered_share]
        cells += [row.accuracy.get(km) for km in _COLUMNS]
        cells += [bound for km in _COLUMNS for bound in row.interval.get(km) or (None, None)]
        writer.writerow([*cells, row.source, row.protocol, "; ".join(row.differs)])
    return stream.getvalue()


def _as_markdown(rows: Sequence[Row], scored: Sequence[Scored]) -> str:
    notes = flags_of(rows)
    cells = [
        *("method", "benchmark", "whose", "n", "answered", *(f"{km} km" for km in _COLUMNS)),
        *("differs", "protocol", "source"),
    ]
    lines = [f"| {' | '.join(cells)} |", "|---" * len(cells) + "|"]
    for row in rows:
        cells = [
            *(row.name, row.benchmark, row.whose),
            "" if row.n is None else f"{row.n:,}",
            "" if row.answered_share is None else f"{row.answered_share:.1f} %",
            *(_share(row, km) for km in _COLUMNS),
            ", ".join(str(notes.index(flag) + 1) for flag in row.differs),
            *(row.protocol, row.source),
        ]
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    model = scored[0].scores["distance"]
    lines += [
        "",
        "Per cent of all photos, answered or not; in brackets 95 % intervals. Distance:"
        f" {model['model']}, {model['compare']}.",
        "",
        "Where a row differs from this, or may:",
        "",
        *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
    ]
    return "\n".join(lines) + "\n"


def _share(row: Row, km: str) -> str:
    value, interval = row.accuracy.get(km), row.interval.get(km)
    if value is None:
        return "–"
    if row.whose != OURS:
        return f"{value}"  # With the digits that are reported.
    return f"{value:.2f} [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else f"{value:.2f}"
