"""`img2loc bench ablate`: what the neighbours, the farthest and the place names are good for."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

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
from img2loc.cli.bench_score import AsJson
from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import (
    BenchmarkName,
    BenchmarkPhotos,
    GalleryName,
    LmmName,
    TruthFile,
)
from img2loc.cli.progress import progress


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
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROW:ROW",
            help="Compare these rows, and run no others; repeatable. `all`: every pair.",
        ),
    ] = None,
    repeats: Annotated[
        int, typer.Option(metavar="N", min=1, help="Run each row that asks the LMM N times.")
    ] = 1,
    temperature: Annotated[
        float | None,
        typer.Option(metavar="T", min=0, help="The LMM's temperature; by default its table's."),
    ] = None,
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
    bootstrap: Annotated[
        Literal["photographers", "photos"],
        typer.Option(metavar="WHAT", help="Resample and test photographers, or photos."),
    ] = "photographers",
    as_json: AsJson = False,
    config: ConfigFile = None,
) -> int:
    """Compare what the LMM is shown of the gallery.

    No neighbours, the nearest, the farthest, both, or random ones; also with place names, and the
    nearest neighbour without an LMM. Each row is one run in DIR, or several, over the same photos.
    Run the same command again to resume.
    """
    from img2loc.bench.datasets import benchmark
    from img2loc.bench.reports.ablation_table import ablation_table
    from img2loc.bench.runs import ablate as ablations
    from img2loc.bench.runs import session
    from img2loc.bench.runs.run_folder import Run
    from img2loc.bench.scores import ablation as scoring
    from img2loc.config import galleries
    from img2loc.core import paths

    settings = checked_config(config)
    default = settings.table("locator", "img2loc")
    gallery, lmm = gallery or default["gallery"], lmm or default["lmm"]
    if temperature is not None:
        settings.override("lmm", lmm, {"temperature": temperature}, "command line")
    counts = _counts(k)
    rows = ablations.variants(gallery, lmm, counts, not no_places)
    pairs = ablations.questions(counts, not no_places)
    if compare:
        pairs = _pairs(compare, [row.name for row in rows])
        rows = [row for row in rows if any(row.name in pair for pair in pairs)]
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
    folder = out or Path("runs") / f"{prepared.benchmark.name}-ablation-{lmm}"
    found = galleries.find_gallery(settings, gallery)
    say_notes([*prepared.notes, *prepared.leak_control.warnings(found)])
    ablation = ablations.Ablation(settings, prepared, rows, folder, repeats)
    runs = ablation.runs
    typer.echo(f"{len(runs)} runs of {len(prepared.truths):,} photos each, into {folder}", err=True)
    if repeats == 1 and ablation.samples:
        typer.echo(
            f"The LMM {lmm} may sample its replies, and each row is run once. --repeats 3 measures"
            " how much chance there is in a row; --temperature 0 leaves less.",
            err=True,
        )
    if (expected := ablation.cost_estimate()) is not None:
        confirmation(yes, max_cost, len(runs))(expected)
    code = 0
    for run in runs:
        typer.echo(run[-1].name, err=True)
        with progress("photos") as advance:
            tally = ablation.run(
                *run,
                progress=lambda tally: advance(tally.done, tally.total, standing(tally)),
            )
        code = max(code, conclude(tally, run[-1]))
    done = {row: list(map(Run.open, folders)) for row, folders in ablation.folders.items()}
    conditions = scoring.of_runs(done, ablations.NO_NEIGHBOURS)
    table = scoring.ablation(conditions, pairs, bootstrap)
    typer.echo(json.dumps(table, ensure_ascii=False) if as_json else ablation_table(table))
    return code


def _pairs(texts: list[str], names: list[str]) -> list[tuple[str, str]]:
    """The pairs that --compare names, in the order given, each once."""
    from itertools import combinations

    pairs: dict[tuple[str, str], None] = {}
    for text in texts:
        first, colon, second = text.partition(":")
        if text == "all":
            pairs |= dict.fromkeys(combinations(names, 2))
        elif not colon or first == second or not {first, second} <= set(names):
            raise typer.BadParameter(
                f"{text!r} is no pair of two rows, such as {names[0]}:{names[-1]}. The rows with"
                f" this -k: {', '.join(names)}.",
                param_hint="--compare",
            )
        else:
            pairs[first, second] = None
    return list(pairs)


def _counts(text: str) -> list[int]:
    numbers = [number.strip() for number in text.split(",")]
    if not all(number.isdecimal() and int(number) for number in numbers):
        raise typer.BadParameter(
            f"{text!r} is no list of numbers above 0, such as 4,8,16,32.", param_hint="-k"
        )
    return sorted(set(map(int, numbers)))
