"""`img2loc data`: the benchmarks and their files: list, fetch and verify."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from img2loc.cli.options import BenchmarkName, BenchmarkPhotos, TruthFile

if TYPE_CHECKING:
    from img2loc.bench.datasets.benchmark import Benchmark, Mirror

app = typer.Typer(
    help="List, fetch and verify the data of benchmarks.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_() -> None:
    """List the benchmarks, and what of each is on this machine."""
    from img2loc.bench.datasets import benchmark as benchmarks

    for name in benchmarks.known():
        benchmark = benchmarks.find(name)
        rows = f"{benchmark.rows:,} photos" if benchmark.rows else "photos not counted"
        typer.echo(f"{name}: {benchmark.description}; {rows}")
        places = ((kind, _path(benchmark, kind)) for kind in ("truth", "photos"))
        here = (f"{kind} {f'at {path}' if path.exists() else 'not here'}" for kind, path in places)
        typer.echo(f"  {', '.join(here)}")


@app.command()
def fetch(
    name: BenchmarkName,
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="A mirror of your choice.")
    ] = None,
    what: Annotated[
        Literal["truth", "photos"],
        typer.Option(metavar="truth|photos", help="What that mirror has."),
    ] = "photos",
    sha256: Annotated[
        str, typer.Option(metavar="HEX", help="The SHA-256 of that mirror's file.")
    ] = "",
) -> int:
    """Fetch what mirrors have of a benchmark.

    For the rest it prints what to get, and where to put it.
    """
    from img2loc.bench.datasets import benchmark as benchmarks

    benchmark = benchmarks.find(name)
    if benchmark.terms:
        typer.echo(f"Terms: {benchmark.terms}", err=True)
    given = None if source is None else benchmarks.Mirror(what, source, sha256.lower())
    for kind in ("truth", "photos") if given is None else (what,):
        mirrors = benchmark.mirrors if given is None else (given,)
        _fetch(benchmark, kind, [mirror for mirror in mirrors if mirror.what == kind])
    missing = [kind for kind in ("truth", "photos") if not _path(benchmark, kind).exists()]
    if missing:
        typer.echo(f"Not here yet: {' and '.join(missing)}.", err=True)
        for step in benchmark.steps():
            typer.echo(step, err=True)
    return 3 if missing else 0


@app.command()
def verify(
    name: BenchmarkName,
    truth: TruthFile = None,
    photos: BenchmarkPhotos = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of each kind to name.")
    ] = 10,
) -> int:
    """Check the photos and the truth file of a benchmark.

    It names photos that are missing, corrupt, placeholders or not in the truth file, and says
    whether this is the known truth file.
    """
    from img2loc.bench.datasets import benchmark as benchmarks
    from img2loc.bench.datasets import photo_folder
    from img2loc.cli.progress import progress

    benchmark = benchmarks.find(name, truth, photos)
    rows, skipped = benchmark.load()
    warnings = benchmark.warnings(rows)
    typer.echo(f"truth        {benchmark.truth_file()}: {len(rows):,} rows")
    typer.echo(f"rows sha256  {benchmarks.rows_sha256(rows)}")
    for line in [*warnings, *skipped[:most]]:
        typer.echo(f"  {line}")
    folder = photo_folder.PhotoFolder(benchmark.photo_folder())
    with progress("photos", len(rows)) as advance:
        result = photo_folder.verify(rows, folder, advance)
    typer.echo(f"photos       {folder.folder}: {result.present:,} of {len(rows):,}")
    kinds = {
        "missing": result.missing,
        "corrupt": [f"{identity}: {reason}" for identity, reason in result.corrupt],
        "placeholder": [f"{identity}: {reason}" for identity, reason in result.placeholders],
        "extra": result.extra,
    }
    for kind, entries in kinds.items():
        typer.echo(f"{kind:<12} {len(entries):,}")
        for entry in entries[:most]:
            typer.echo(f"  {entry}")
        if len(entries) > most > 0:
            typer.echo(f"  … and {len(entries) - most:,} more; --most {len(entries)} names all")
    for defect in benchmark.defects:
        typer.echo(f"known        {defect}")
    return 0 if result.clean and not warnings and not skipped else 3


def _fetch(benchmark: "Benchmark", kind: str, mirrors: "list[Mirror]") -> None:
    """Try the mirrors in turn until one works."""
    from img2loc.bench.datasets.download import FetchError, fetch_photos, fetch_truth
    from img2loc.cli.progress import progress

    if _path(benchmark, kind).exists():
        typer.echo(f"{kind}: {_path(benchmark, kind)} is here.", err=True)
        return
    for mirror in mirrors:
        checked = f"SHA-256 {'known' if mirror.sha256 else 'not known'}"
        note = f"; {mirror.note}" if mirror.note else ""
        typer.echo(f"{kind}: trying {mirror.url} ({checked}{note})", err=True)
        try:
            with progress("bytes") as advance:
                got = (fetch_truth if kind == "truth" else fetch_photos)(benchmark, mirror, advance)
        except FetchError as error:
            typer.echo(f"  {error}", err=True)
            continue
        typer.echo(f"{kind}: {got}", err=True)
        return


def _path(benchmark: "Benchmark", kind: str) -> Path:
    return benchmark.home / ("truth.csv" if kind == "truth" else "photos")
