"""`img2loc bench score`, `compare` and `report`: how good finished runs are."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

if TYPE_CHECKING:
    from img2loc.bench.scores.bootstrap import Unit
    from img2loc.bench.scores.outcomes import Outcomes
    from img2loc.locators.calibration import Calibration

Distance = Annotated[
    Literal["great-circle", "geodesic"],
    typer.Option(metavar="HOW", help="great-circle, or geodesic on the WGS84 ellipsoid."),
]
Bootstrap = Annotated[
    Literal["photographers", "photos", "both"],
    typer.Option(metavar="WHAT", help="Resample photographers, photos, or both in turn."),
]
Seed = Annotated[int, typer.Option(metavar="S", min=0, help="Seed of the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def score(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run's folder.", show_default=False)
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Instead of a run: a CSV or Parquet with id, lat, lon; or .jsonl with id, reply.",
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Their truth: a CSV or Parquet with id, lat, lon, author."
        ),
    ] = None,
    subset: Annotated[
        bool,
        typer.Option("--subset", help="Leave photos out that FILE has no row for: not asked."),
    ] = False,
    reparse: Annotated[
        bool,
        typer.Option("--reparse", help="Read the run's recorded replies with today's parser."),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Within means <, as some papers count, and not <=.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Say how often the radius of this calibration holds the truth."
        ),
    ] = None,
    distance: Distance = "great-circle",
    bootstrap: Bootstrap = "photographers",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Score a run, or anyone's predictions or replies.

    A photo without an answer counts as wrong. A run's scores are also written to RUN/scores.json.
    """
    from img2loc.bench.reports import tables
    from img2loc.bench.scores import score as scoring
    from img2loc.core.files import write_json

    if (run is None) == (predictions is None) or (predictions is None) != (truth is None):
        raise typer.BadParameter("Name a RUN, or --predictions FILE and --truth FILE.")
    if reparse and run is None:
        raise typer.BadParameter("--reparse is for a RUN; replies in a .jsonl are parsed anyway.")
    if subset and predictions is None:
        raise typer.BadParameter("--subset is for --predictions; a RUN knows its photos.")
    notes: list[str] = []
    if run is not None and reparse:
        from img2loc.bench.runs.run_folder import Run
        from img2loc.bench.scores.outcomes import of_run
        from img2loc.bench.scores.replies import reparse as read_again

        again = read_again(Run.open(run))
        outcomes, notes = of_run(again.run), [again.note()]
    elif run is not None:
        (outcomes,) = _opened([run], [""])
    elif predictions is not None and truth is not None:
        from img2loc.bench.scores.external import match

        matched = match(predictions, truth, subset=subset)
        outcomes, notes = matched.outcomes, matched.notes()
    known = _calibration(calibration, outcomes) if calibration else None
    scores = scoring.score(
        outcomes, distance, _units(bootstrap), seed=seed, strict=strict, calibration=known
    )
    if notes:
        scores["notes"] = notes
    if run is not None:
        _write(run / "scores.json", lambda path: write_json(path, scores))
    for note in notes:
        typer.echo(note, err=True)
    typer.echo(_json(scores) if as_json else tables.score_table(scores))


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run's folder.")],
    second: Annotated[Path, typer.Argument(metavar="RUN_B", help="A run over the same photos.")],
    distance: Distance = "great-circle",
    bootstrap: Bootstrap = "photographers",
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Compare two runs photo by photo.

    Prints the differences B − A with intervals, McNemar's p, and the photos that got worse.
    """
    from img2loc.bench.reports import tables
    from img2loc.bench.scores import compare as comparing

    before, after = _opened([first, second], _names([first, second]))
    comparisons = [
        comparing.compare(before, after, distance, unit, seed=seed) for unit in _units(bootstrap)
    ]
    if as_json:
        single = len(comparisons) == 1
        typer.echo(_json(comparisons[0] if single else {"comparisons": comparisons}))
    else:
        typer.echo("\n\n".join(map(tables.comparison_table, comparisons)))


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="The folders of the runs.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="By default report.html; other formats are printed.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[
        Literal["html", "md", "csv", "json"],
        typer.Option("--format", metavar="FORMAT", help="html (one file), md, csv or json."),
    ] = "html",
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Link to the photos in this folder.")
    ] = None,
    distance: Distance = "great-circle",
) -> None:
    """Write a report of runs beside the published numbers.

    It has tables, a map, curves, and every photo with its evidence.
    """
    from img2loc.bench.reports import report as reporting
    from img2loc.bench.runs.run_folder import Run
    from img2loc.core.errors import RunError

    target = out or (Path("report.html") if form == "html" else None)
    if target and target.suffix != f".{form}":
        raise RunError(f"--out {target} should end in .{form}, for --format {form}.")
    named = list(zip(_names(runs), map(Run.open, runs), strict=True))
    text = reporting.render(named, form, distance, photos, target.parent if target else Path())
    if target is None:
        typer.echo(text.rstrip("\n"))
        return
    _write(target, lambda path: path.write_text(text, encoding="utf-8"))
    typer.echo(f"{target}: {len(runs)} runs, {len(text.encode()) / 1e6:.1f} MB.", err=True)


def _calibration(file: Path, outcomes: "Outcomes") -> "Calibration":
    """A calibration of the run's locator; predictions do not say what made them."""
    from img2loc.bench.scores.calibration import identity_of
    from img2loc.locators.calibration import Calibration

    found = Calibration.load(file)
    of = identity_of(outcomes)
    if of and found.of:
        found.require(of, str(file))
    return found


def _opened(folders: list[Path], names: list[str]) -> "list[Outcomes]":
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores.outcomes import of_run

    return [of_run(Run.open(folder), name) for folder, name in zip(folders, names, strict=True)]


def _names(folders: list[Path]) -> list[str]:
    """The folders' names, or their paths where two have one name."""
    short = [folder.resolve().name for folder in folders]
    return short if len(set(short)) == len(short) else [str(folder) for folder in folders]


def _units(bootstrap: "Unit | Literal['both']") -> "list[Unit]":
    return ["photographers", "photos"] if bootstrap == "both" else [bootstrap]


def _json(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def _write(path: Path, write: Callable[[Path], object]) -> None:
    from img2loc.core.errors import SourceError

    try:
        write(path)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be written: {error.strerror}. Name a folder that can."
        ) from error
