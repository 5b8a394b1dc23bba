"""`img2loc index calibrate` and `bench calibrate`: what a locator's radius is worth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli.config_file import ConfigFile, checked_config

if TYPE_CHECKING:
    from img2loc.locators.calibration import Calibration

Shares = Annotated[
    list[float] | None,
    typer.Option(
        "--share",
        metavar="SHARE",
        help="A share beside 0.5, 0.68 and 0.9; may be repeated.",
        show_default=False,
    ),
]


def calibrate_gallery(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    locator: Annotated[
        str, typer.Option(metavar="NAME", help="The locator, which asks no LMM.")
    ] = "retrieval",
    rows: Annotated[
        int, typer.Option(metavar="N", min=100, help="Ask about so many rows, drawn at random.")
    ] = 3000,
    share: Shares = None,
    config: ConfigFile = None,
) -> None:
    """Learn from a gallery's own rows how far to trust its answers.

    Each row is asked about without its photographer, its folder and its near-duplicates. Run the
    same command again to resume. The gallery keeps the result, and `ask` uses it.
    """
    from img2loc.cli.progress import progress
    from img2loc.config.row_calibration import calibrate_rows

    settings = checked_config(config)
    with progress("rows") as advance:
        found = calibrate_rows(settings, gallery, locator, rows, share or (), advance)
    say(found)


def calibrate_run(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run's folder, or a table of predictions.")
    ],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The calibration to write.")],
    truth: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="The truth of a table: a CSV or Parquet with id, lat, lon, author."
        ),
    ] = None,
    share: Shares = None,
) -> None:
    """Learn from a run how far to trust its locator's answers.

    A table has id, lat, lon and spread_km. A locator uses the result where its table says
    calibration = "FILE".
    """
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores import calibration as calibrating
    from img2loc.bench.scores.external import match
    from img2loc.bench.scores.outcomes import of_run
    from img2loc.bench.scores.replies import lmm_errors_km

    if run.is_dir() != (truth is None):
        raise typer.BadParameter("Name a RUN, or a table of predictions and its --truth FILE.")
    errors: dict[str, float] = {}
    if truth is None:
        opened = Run.open(run)
        outcomes, errors = of_run(opened), lmm_errors_km(opened)
    else:
        matched = match(run, truth, subset=True)
        outcomes = matched.outcomes
        for note in matched.notes():
            typer.echo(note, err=True)
    found = calibrating.calibration_of(outcomes, share or (), run.resolve().name, errors)
    found.save(out)
    say(found, out)
    if errors and (best := min(errors, key=errors.__getitem__)) != next(iter(errors)):
        medians = ", ".join(f"{name} {km:,.1f} km" for name, km in errors.items())
        typer.echo(
            f"{best} is the better LMM here (median errors: {medians}). Put it first in lmms, and"
            " run and calibrate again: the replies are kept, so that costs nothing.",
            err=True,
        )


def say(found: "Calibration", out: Path | None = None) -> None:
    """Print what a calibration was measured on and what it says."""
    typer.echo(
        f"Calibrated on {found.measured_on}: {found.photos:,} answers, {found.clusters:,}"
        f" {found.counted}; score: {found.conformal.score}.",
        err=True,
    )
    if nothing := [f"{share:.0%}" for share in found.shares if not found.promises(share)]:
        typer.echo(f"Too few {found.counted} for a radius of {', '.join(nothing)}.", err=True)
    if out is not None and found.of:
        typer.echo(f'To use it: calibration = "{out.resolve()}" in the locator\'s table.', err=True)
    elif out is not None:
        typer.echo(f"To use it: img2loc bench score --calibration {out}.", err=True)
    typer.echo("It holds for photos drawn as these were, not for others.", err=True)
