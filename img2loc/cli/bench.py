"""`img2loc bench`: run a locator over a benchmark, and a table of ablations."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli import bench_score
from img2loc.cli.progress import Advance, progress
from img2loc.cli.settings import ConfigFile, load_config
from img2loc.cli.stdio import on_terminal

if TYPE_CHECKING:
    from img2loc.bench.datasets.benchmark import Benchmark
    from img2loc.bench.runs.predict import Tally
    from img2loc.bench.runs.session import CostEstimate, Session

app = typer.Typer(help="Run benchmarks, score them, compare them.", no_args_is_help=True)

Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A benchmark's name, a TOML recipe, or a CSV or Parquet file of your own.",
    ),
]
Lmm = Annotated[
    str | None, typer.Option(metavar="NAME", help="Which model to ask: an [lmm.NAME] table.")
]
Gallery = Annotated[
    str | None,
    typer.Option(metavar="NAME|DIR", help="Which gallery to search; it brings its encoder."),
]
Truth = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The truth file, if it is not in its usual place."),
]
Photos = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="The photos, if they are not in their usual place."),
]
Limit = Annotated[
    str | None, typer.Option(metavar="N|A-B", help="The first N photos, or the A-th to the B-th.")
]
Shuffle = Annotated[
    bool, typer.Option("--shuffle", help="In random order; with --limit, a random sample.")
]
Seed = Annotated[int, typer.Option(metavar="S", help="Which random order.")]
Retry = Annotated[
    bool,
    typer.Option("--retry-failed", help="Ask again for photos that failed or could not be read."),
]
MaxCost = Annotated[
    float | None,
    typer.Option(metavar="USD", min=0, help="Begin no photo that might cost more in all."),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before the first paid request.")]
NoExclude = Annotated[
    bool, typer.Option("--no-exclude", help="Let photos see rows of their own id and photographer.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Do not keep the LMM's replies, nor use kept ones.")
]


def run(
    name: Name,
    locator: Annotated[
        str | None, typer.Option(metavar="NAME", help="How to decide: a [locator.NAME] table.")
    ] = None,
    lmm: Lmm = None,
    gallery: Gallery = None,
    truth: Truth = None,
    photos: Photos = None,
    limit: Limit = None,
    shuffle: Shuffle = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="The run's folder; by default one below runs/."),
    ] = None,
    retry_failed: Retry = False,
    max_cost: MaxCost = None,
    yes: Yes = False,
    no_exclude: NoExclude = False,
    no_cache: NoCache = False,
    config: ConfigFile = None,
) -> int:
    """Locate every photo of a benchmark. Interrupted or killed, the same command goes on.

    Each photo is one line in RUN/predictions.jsonl, with all that is needed to score and to audit
    it. `img2loc bench score RUN` scores it, as often as you like.
    """
    from img2loc.bench.datasets import benchmark as benchmarks
    from img2loc.config import factory, registry

    settings = load_config(config)
    registry.check(settings)
    chosen = factory.plan_for(settings, locator, gallery=gallery, lmm=lmm).locator
    benchmark = benchmarks.find(name, truth, photos)
    prepared = _prepared(
        benchmark, limit, shuffle, seed, no_exclude, no_cache, retry_failed, max_cost
    )
    folder = out or prepared.folder(settings, chosen)
    typer.echo(
        f"{len(prepared.truths):,} photos of {prepared.benchmark.name}, by {chosen}, into {folder}",
        err=True,
    )
    with progress("photos") as advance:
        tally = prepared.run(
            settings, chosen, folder, confirm=_confirmation(yes, max_cost), progress=_shown(advance)
        )
    return _conclude(tally, folder)


def _prepared(
    benchmark: "Benchmark",
    limit: str | None,
    shuffle: bool,
    seed: int,
    no_exclude: bool,
    no_cache: bool,
    retry_failed: bool,
    max_cost: float | None,
) -> "Session":
    """The session that the options of `run` and `ablate` ask for; says what is odd about the benchmark's files."""
    from img2loc.bench.runs import session
    from img2loc.core import paths

    prepared = session.prepare(
        benchmark,
        limit,
        shuffle,
        seed,
        exclude=not no_exclude,
        cache=None if no_cache else paths.replies(),
        retry_failed=retry_failed,
        max_usd=max_cost,
    )
    for note in prepared.notes:
        typer.echo(note, err=True)
    return prepared


def _confirmation(
    yes: bool, max_usd: float | None, runs: int = 1
) -> "Callable[[CostEstimate], None]":
    """Asks whether to go on at an expected cost; --max-cost answers where nobody can be asked."""
    from img2loc.core.errors import ConfigError

    def confirm(expected: "CostEstimate") -> None:
        total = expected.total
        cost = (
            f", about {total.cost_usd:,.2f} US dollars"
            if total.cost_usd is not None
            else ", at a price not known"
        )
        most = "" if max_usd is None else f", and no more than {max_usd:,.2f} in all"
        often = f", in {runs} runs," if runs > 1 else ""
        typer.echo(
            f"{expected.photos:,} photos{often} go to the LMM {expected.lmm} at {expected.endpoint}, without"
            f" metadata or file name: about {total.input_tokens:,} tokens in and"
            f" {total.output_tokens:,} out{cost + most if expected.paid else ''}.",
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


def _shown(advance: Advance) -> "Callable[[Tally], None]":
    return lambda tally: advance(tally.done, tally.total, standing(tally))


def standing(tally: "Tally") -> str:
    """How a run stands, in a few words."""
    done = max(tally.done, 1)
    money = f", ${tally.cost_usd:,.2f}" if tally.cost_usd else ""
    return (
        f"{tally.answered / done:.1%} answered, {tally.within_city / done:.1%} within 25 km{money}"
    )


def _conclude(tally: "Tally", folder: Path) -> int:
    typer.echo(f"{tally.done:,} of {tally.total:,} photos done: {standing(tally)}", err=True)
    if tally.done < tally.total:
        typer.echo("Stopped by --max-cost. The same command with a larger one goes on.", err=True)
    if tally.failed:
        typer.echo(
            f"{tally.failed:,} photos failed; the same command with --retry-failed asks for them"
            " again.",
            err=True,
        )
    typer.echo(f"Score it: img2loc bench score {folder}", err=True)
    return 3 if tally.failed or tally.done < tally.total else 0


def ablate(
    name: Name,
    lmm: Lmm = None,
    gallery: Gallery = None,
    k: Annotated[
        str, typer.Option("-k", metavar="N,N", help="Numbers of neighbours at each end.")
    ] = "4,8,16,32",
    no_places: Annotated[
        bool, typer.Option("--no-places", help="Leave out the prompts with place names.")
    ] = False,
    truth: Truth = None,
    photos: Photos = None,
    limit: Limit = None,
    shuffle: Shuffle = False,
    seed: Seed = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of the runs; by default below runs/."),
    ] = None,
    retry_failed: Retry = False,
    max_cost: Annotated[
        float | None,
        typer.Option(
            metavar="USD", min=0, help="Begin no photo that might cost more, over all runs."
        ),
    ] = None,
    yes: Yes = False,
    no_exclude: NoExclude = False,
    no_cache: NoCache = False,
    config: ConfigFile = None,
) -> int:
    """Run img2loc with no neighbours, the nearest only, and both ends.

    With and without place names. Each variant is an ordinary run below DIR, over the same photos.
    Interrupted or killed, the same command goes on.
    """
    from dataclasses import replace

    from img2loc.bench.datasets import benchmark as benchmarks
    from img2loc.bench.reports import tables
    from img2loc.bench.runs import ablate as ablations
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores import compare, outcomes
    from img2loc.config import registry

    settings = load_config(config)
    registry.check(settings)
    usual = settings.table("locator", "img2loc")
    counts = _counts(k)
    benchmark = benchmarks.find(name, truth, photos)
    prepared = _prepared(
        benchmark, limit, shuffle, seed, no_exclude, no_cache, retry_failed, max_cost
    )
    rows = ablations.variants(
        gallery or usual["gallery"], lmm or usual["lmm"], counts, not no_places
    )
    folder = out or Path("runs") / f"{prepared.benchmark.name}-ablation-{lmm or usual['lmm']}"
    typer.echo(f"{len(rows)} runs of {len(prepared.truths):,} photos each, into {folder}", err=True)
    code = 0
    ablation = ablations.Ablation(settings, prepared)
    if (expected := ablation.cost_estimate(rows, folder)) is not None:
        _confirmation(yes, max_cost, len(rows))(expected)
    for row in rows:
        typer.echo(row.name, err=True)
        with progress("photos") as advance:
            tally = ablation.run(row, rows, folder, progress=_shown(advance))
        code = max(code, _conclude(tally, folder / row.name))
    done = [replace(outcomes.of_run(Run.open(folder / row.name)), name=row.name) for row in rows]
    typer.echo(tables.ablation_table(compare.ablation(done)))
    return code


def _counts(text: str) -> list[int]:
    try:
        counts = sorted({int(number) for number in text.split(",")})
    except ValueError:
        counts = [0]
    if counts[0] < 1:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers above 0, such as 4,8,16,32.", param_hint="-k"
        )
    return counts


app.command()(run)  # The order is that of `--help`.
app.command()(bench_score.score)
app.command()(bench_score.compare)
app.command()(bench_score.report)
app.command()(ablate)
