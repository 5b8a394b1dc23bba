"""`img2loc bench run` and `ablate`: a locator, or every variant of one, over a benchmark."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli import bench_score
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
from img2loc.cli.stdio import on_terminal

if TYPE_CHECKING:
    from img2loc.bench.runs.predict import Tally
    from img2loc.bench.runs.session import CostEstimate, Session

app = typer.Typer(help="Run benchmarks, score them, compare them.", no_args_is_help=True)

Limit = Annotated[
    str | None, typer.Option(metavar="N|A-B", help="The first N photos, or the A-th to the B-th.")
]
Shuffle = Annotated[
    bool, typer.Option("--shuffle", help="In random order; with --limit, a random sample.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="The seed of the random order.")]
Out = Annotated[
    Path | None, typer.Option(metavar="DIR", help="The output folder; by default below runs/.")
]
RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Try photos again that failed or were unreadable.")
]
MaxCost = Annotated[
    float | None, typer.Option(metavar="USD", min=0, help="Stop before the total cost is higher.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the first paid request.")]
NoExclude = Annotated[
    bool, typer.Option("--no-exclude", help="Do not exclude rows of a photo's id or photographer.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Neither store the LMM's replies nor use stored ones.")
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
    no_cache: NoCache = False,
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
        cache=None if no_cache else paths.replies(),
        retry_failed=retry_failed,
        max_usd=max_cost,
    )
    folder = out or prepared.folder(settings, plan.locator)
    _say_notes(prepared)
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
            confirm=_confirmation(yes, max_cost),
            progress=lambda tally: advance(tally.done, tally.total, _standing(tally)),
        )
    return _conclude(tally, folder)


def ablate(
    name: BenchmarkName,
    lmm: LmmName = None,
    gallery: GalleryName = None,
    k: Annotated[
        str, typer.Option("-k", metavar="N,N", help="The numbers of neighbours to try.")
    ] = "4,8,16,32",
    no_places: Annotated[
        bool, typer.Option("--no-places", help="Skip the prompts with place names.")
    ] = False,
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
    no_cache: NoCache = False,
    config: ConfigFile = None,
) -> int:
    """Run img2loc with no neighbours, the nearest, and both sides.

    Each variant, with and without place names, is a run in DIR over the same photos. Run the same
    command again to resume.
    """
    from img2loc.bench.datasets import benchmark
    from img2loc.bench.reports import tables
    from img2loc.bench.runs import ablate as ablations
    from img2loc.bench.runs import session
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores import compare, outcomes
    from img2loc.core import paths

    settings = checked_config(config)
    default = settings.table("locator", "img2loc")
    gallery, lmm = gallery or default["gallery"], lmm or default["lmm"]
    variants = ablations.variants(gallery, lmm, _counts(k), not no_places)
    prepared = session.prepare(
        benchmark.find(name, truth, photos),
        limit,
        shuffle,
        seed,
        exclude=not no_exclude,
        cache=None if no_cache else paths.replies(),
        retry_failed=retry_failed,
        max_usd=max_cost,
    )
    folder = out or Path("runs") / f"{prepared.benchmark.name}-ablation-{lmm}"
    _say_notes(prepared)
    typer.echo(
        f"{len(variants)} runs of {len(prepared.truths):,} photos each, into {folder}", err=True
    )
    ablation = ablations.Ablation(settings, prepared)
    if (expected := ablation.cost_estimate(variants, folder)) is not None:
        _confirmation(yes, max_cost, len(variants))(expected)
    code = 0
    for variant in variants:
        typer.echo(variant.name, err=True)
        with progress("photos") as advance:
            tally = ablation.run(
                variant,
                variants,
                folder,
                progress=lambda tally: advance(tally.done, tally.total, _standing(tally)),
            )
        code = max(code, _conclude(tally, folder / variant.name))
    runs = [outcomes.of_run(Run.open(folder / one.name), one.name) for one in variants]
    typer.echo(tables.ablation_table(compare.ablation(runs)))
    return code


def _say_notes(session: "Session") -> None:
    for note in session.notes:
        typer.echo(note, err=True)


def _confirmation(
    yes: bool, max_usd: float | None, runs: int = 1
) -> "Callable[[CostEstimate], None]":
    """Asks whether to go on at an expected cost; --max-cost answers where nobody can be asked."""
    from img2loc.core.errors import ConfigError

    def confirm(expected: "CostEstimate") -> None:
        total, cost = expected.total, ""
        if expected.paid:
            cost = (
                ", at an unknown price"
                if total.cost_usd is None
                else f", about {total.cost_usd:,.2f} US dollars"
            )
            cost += "" if max_usd is None else f", and no more than {max_usd:,.2f} in all"
        typer.echo(
            f"{expected.photos:,} photos{f', in {runs} runs,' if runs > 1 else ''} go to the LMM"
            f" {expected.lmm} at {expected.endpoint}, without metadata or file name: about"
            f" {total.input_tokens:,} tokens in and {total.output_tokens:,} out{cost}.",
            err=True,
        )
        if yes or not expected.paid:
            return
        if on_terminal(sys.stdin) and on_terminal(sys.stderr):
            typer.confirm("Go on?", err=True, abort=True)
        elif max_usd is None:
            raise ConfigError(
                "This run may cost money, and nobody is here to ask. Say --yes, or --max-cost USD."
            )

    return confirm


def _standing(tally: "Tally") -> str:
    done = max(tally.done, 1)
    money = f", ${tally.cost_usd:,.2f}" if tally.cost_usd else ""
    return (
        f"{tally.answered / done:.1%} answered, {tally.within_city / done:.1%} within 25 km{money}"
    )


def _conclude(tally: "Tally", folder: Path) -> int:
    typer.echo(f"{tally.done:,} of {tally.total:,} photos done: {_standing(tally)}", err=True)
    if tally.done < tally.total:
        typer.echo("Stopped by --max-cost. Run it again with a larger one to go on.", err=True)
    if tally.failed:
        typer.echo(
            f"{tally.failed:,} photos failed. Run it again with --retry-failed to retry them.",
            err=True,
        )
    typer.echo(f"Score it: img2loc bench score {folder}", err=True)
    return 3 if tally.failed or tally.done < tally.total else 0


def _counts(text: str) -> list[int]:
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is no list of numbers above 0, such as 4,8,16,32.", param_hint="-k"
        )
    return sorted(set(map(int, numbers)))


app.command()(run)  # The order is that of `--help`.
app.command()(bench_score.score)
app.command()(bench_score.compare)
app.command()(bench_score.report)
app.command()(ablate)
