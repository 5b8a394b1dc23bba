"""`img2loc bench score`, `compare` and `report`: what finished runs are worth.

No model is called.
"""

import json
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from img2loc.bench.scores.bootstrap import Unit
    from img2loc.bench.scores.outcomes import Distance, Outcomes


class Measure(StrEnum):
    """How distance is measured."""

    great_circle = "great-circle"
    geodesic = "geodesic"


class Over(StrEnum):
    """What the bootstrap draws."""

    photographers = "photographers"
    photos = "photos"
    both = "both"


class Form(StrEnum):
    """What a report is written as."""

    html = "html"
    md = "md"
    csv = "csv"
    json = "json"


MeasureOption = Annotated[
    Measure, typer.Option(help="Great circle, or the WGS84 ellipsoid for comparison.")
]
OverOption = Annotated[Over, typer.Option(help="What the intervals resample.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
SeedOption = Annotated[int, typer.Option(metavar="S", min=0, help="Seed of the bootstrap.")]


def score(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A CSV or Parquet file of anyone's predictions: id, lat, lon; with --truth.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The table of the truth: id, lat, lon, author."),
    ] = None,
    distance: MeasureOption = Measure.great_circle,
    bootstrap: OverOption = Over.photographers,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Score a run, or anyone's predictions. A photo without an answer is wrong, and counted.

    Of a run the scores are kept in RUN/scores.json.
    """
    from img2loc.bench.reports import tables
    from img2loc.bench.scores import score as scoring
    from img2loc.core.files import write_json

    if (run is None) == (predictions is None) or (predictions is None) != (truth is None):
        raise typer.BadParameter("name a RUN, or --predictions FILE and --truth FILE")
    notes: list[str] = []
    if run is not None:
        outcomes = _opened(run)
    elif predictions is not None and truth is not None:
        from img2loc.bench.scores.external import match

        matched = match(predictions, truth)
        outcomes, notes = matched.outcomes, matched.notes()
    scores = scoring.score(outcomes, _distance(distance), _units(bootstrap), seed=seed)
    if notes:
        scores["notes"] = notes
    if run is not None:
        _kept(lambda: write_json(run / "scores.json", scores), run / "scores.json")
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(
        json.dumps(scores, ensure_ascii=False, allow_nan=False)
        if as_json
        else tables.score_table(scores)
    )


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run's folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another over the same photos.")],
    distance: MeasureOption = Measure.great_circle,
    bootstrap: OverOption = Over.photographers,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Compare two runs photo by photo.

    B less A, with intervals, McNemar's p, and what got worse.
    """
    from img2loc.bench.reports import tables
    from img2loc.bench.scores import compare as comparing

    before, after = _named([first, second])
    found = [
        comparing.compare(before, after, _distance(distance), unit, seed=seed)
        for unit in _units(bootstrap)
    ]
    if as_json:
        content = found[0] if len(found) == 1 else {"comparisons": found}
        typer.echo(json.dumps(content, ensure_ascii=False, allow_nan=False))
        return
    typer.echo("\n\n".join(tables.comparison_table(one) for one in found))


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN", help="Folders of runs, to be shown side by side.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where to; report.html for HTML, else standard output.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Form, typer.Option("--format", help="HTML in one file, or tables alone.")
    ] = Form.html,
    photos: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Link the photographs in this folder; else none are shown."
        ),
    ] = None,
    distance: MeasureOption = Measure.great_circle,
) -> None:
    """Make a report of runs beside the published numbers.

    Tables, map, curves, and every photo with its evidence.
    """
    from img2loc.bench.reports import report as reporting
    from img2loc.bench.runs.run_folder import Run

    target = out or (Path("report.html") if form is Form.html else None)
    named = list(zip(_names(runs), map(Run.open, runs), strict=True))
    text = reporting.render(
        named, form.value, _distance(distance), photos, target.parent if target else Path()
    )
    if target is None:
        typer.echo(text.rstrip("\n"))
        return
    _kept(lambda: target.write_text(text, encoding="utf-8"), target)
    typer.echo(f"{target}: {len(runs)} runs, {len(text.encode()) / 1e6:.1f} MB.", err=True)


def _opened(folder: Path) -> "Outcomes":
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores.outcomes import of_run

    return of_run(Run.open(folder))


def _named(folders: list[Path]) -> "list[Outcomes]":
    from dataclasses import replace

    return [
        replace(_opened(folder), name=name)
        for folder, name in zip(folders, _names(folders), strict=True)
    ]


def _names(folders: list[Path]) -> list[str]:
    """The folders' names, or their paths where two have one name."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _distance(measure: Measure) -> "Distance":
    return "geodesic" if measure is Measure.geodesic else "great-circle"


def _units(over: Over) -> "list[Unit]":
    if over is Over.both:
        return ["photographers", "photos"]
    return ["photos"] if over is Over.photos else ["photographers"]


def _kept(write: Callable[[], object], path: Path) -> None:
    """Write a file. Raises SourceError where the folder does not take it."""
    from img2loc.core.errors import SourceError

    try:
        write()
    except OSError as error:
        raise SourceError(
            f"{path} cannot be written: {error.strerror}. Name a folder that can."
        ) from error
