"""`img2loc bench run`: a locator over a benchmark; and the other commands of `bench`."""

from dataclasses import replace
from typing import Annotated

import typer

from img2loc.cli import bench_ablate, bench_score, calibrate
from img2loc.cli.bench_runs import (
    Limit,
    MaxCost,
    NearDuplicates,
    NoCache,
    NoExclude,
    Out,
    RetryFailed,
    Seed,
    Shuffle,
    Yes,
    conclude,
    confirmation,
    near_duplicate,
    say_notes,
    standing,
)
from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import (
    BenchmarkName,
    BenchmarkPhotos,
    GalleryName,
    LmmName,
    LocatorName,
    TruthFile,
)
from img2loc.cli.progress import progress

app = typer.Typer(
    help="Run benchmarks, score them, compare them.", no_args_is_help=True, rich_markup_mode=None
)

Repeat = Annotated[
    int,
    typer.Option(metavar="N", min=1, help="The N-th run of the same: its replies are its own."),
]


def run(
    name: BenchmarkName,
    locator: LocatorName = None,
    lmm: LmmName = None,
    gallery: GalleryName = None,
    truth: TruthFile = None,
    photos: BenchmarkPhotos = None,
    limit: Limit = None,
    shuffle: Shuffle = False,
    seed: Seed = 0,
    out: Out = None,
    retry_failed: RetryFailed = False,
    max_cost: MaxCost = None,
    yes: Yes = False,
    no_exclude: NoExclude = False,
    exclude_near_duplicates: NearDuplicates = None,
    no_cache: NoCache = False,
    repeat: Repeat = 1,
    config: ConfigFile = None,
) -> int:
    """Locate every photo of a benchmark.

    Each photo becomes one line in DIR/predictions.jsonl. Run the same command again to resume.
    """
    from img2loc.bench.datasets import benchmark
    from img2loc.bench.runs import session
    from img2loc.config import factory
    from img2loc.core import paths

    settings = checked_config(config)
    plan = factory.plan_for(settings, locator, gallery=gallery, lmm=lmm)
    prepared = session.prepare(
        benchmark.find(name, truth, photos),
        limit,
        shuffle,
        seed,
        exclude=not no_exclude,
        near_duplicate=near_duplicate(exclude_near_duplicates, no_exclude),
        cache=None if no_cache else paths.replies(),
        retry_failed=retry_failed,
        max_usd=max_cost,
    )
    prepared = replace(prepared, repeat=repeat - 1)
    folder = out or prepared.folder(settings, plan.locator)
    say_notes([*prepared.notes, *prepared.leak_control.warnings(plan.gallery)])
    typer.echo(
        f"{len(prepared.truths):,} photos of {prepared.benchmark.name}, by {plan.locator}, into"
        f" {folder}",
        err=True,
    )
    if found := prepared.reproduction(plan):
        typer.echo(
            f"It reproduces {found['paper']}. Different from the tables that ship for it:"
            f" {', '.join(found['deviations']) or 'nothing'}.",
            err=True,
        )
    with progress("photos") as advance:
        tally = prepared.run(
            settings,
            plan.locator,
            folder,
            confirm=confirmation(yes, max_cost),
            progress=lambda tally: advance(tally.done, tally.total, standing(tally)),
        )
    return conclude(tally, folder)


app.command()(run)  # The order is that of `--help`.
app.command()(bench_score.score)
app.command()(bench_score.compare)
app.command()(bench_score.report)
app.command("calibrate")(calibrate.calibrate_run)
app.command()(bench_ablate.ablate)
