"""`img2loc data`: which benchmarks there are, what of them is here, how to get the rest, and whether it is sound."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from img2loc.bench.datasets.benchmark import Benchmark, Mirror

app = typer.Typer(help="List, fetch and verify the data of benchmarks.", no_args_is_help=True)
Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME",
        help="A benchmark's name, a TOML recipe, or a CSV or Parquet file of your own.",
    ),
]


@app.command("list")
def listed() -> None:
    """List the benchmarks, and what of each is on this machine."""
    from img2loc.bench.datasets import benchmark as truth

    for name in truth.known():
        benchmark = truth.find(name)
        rows = f"{benchmark.rows:,} photos" if benchmark.rows else "photos not counted"
        typer.echo(f"{name}: {benchmark.description}; {rows}")
        typer.echo(
            f"  truth {_there(benchmark.home / 'truth.csv')}, photos"
            f" {_there(benchmark.home / 'photos')}"
        )


@app.command()
def fetch(
    name: Name,
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="A mirror that you know of.")
    ] = None,
    what: Annotated[
        str, typer.Option(metavar="truth|photos", help="What --from is a mirror of.")
    ] = "photos",
    sha256: Annotated[
        str, typer.Option(metavar="HEX", help="The checksum that the file of --from must have.")
    ] = "",
) -> int:
    """Fetch what mirrors have of a benchmark.

    For the rest, say what to put where.
    """
    from img2loc.bench.datasets import benchmark as truth
    from img2loc.bench.datasets.benchmark import Mirror

    if what not in ("truth", "photos"):
        raise typer.BadParameter(f"{what!r} is neither truth nor photos.", param_hint="--what")
    benchmark = truth.find(name)
    if benchmark.terms:
        typer.echo(f"Terms: {benchmark.terms}", err=True)
    mirrors = benchmark.mirrors if source is None else (Mirror(what, source, sha256.lower()),)
    wanted = ("truth", "photos") if source is None else (what,)
    for kind in wanted:
        _fetch(benchmark, kind, [mirror for mirror in mirrors if mirror.what == kind])
    lacking = [kind for kind in ("truth", "photos") if not _path(benchmark, kind).exists()]
    if lacking:
        typer.echo(f"Not here yet: {' and '.join(lacking)}.", err=True)
        for step in benchmark.steps():
            typer.echo(step, err=True)
    return 3 if lacking else 0


@app.command()
def verify(
    name: Name,
    truth: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The truth file, if not in its usual place.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The photos, if not in their usual place.")
    ] = None,
    most: Annotated[
        int, typer.Option(metavar="N", min=0, help="How many of each kind to name.")
    ] = 10,
) -> int:
    """Check the photos and the truth file of a benchmark.

    Photos may be missing, extra, corrupt or placeholders; the truth file may not be the known one.
    """
    from img2loc.bench.datasets import benchmark as benchmarks
    from img2loc.bench.datasets import photo_folder as photo_folders
    from img2loc.cli.progress import progress

    benchmark = benchmarks.find(name, truth, photos)
    rows, left_out = benchmark.load()
    warnings = benchmark.warnings(rows)
    typer.echo(f"truth        {benchmark.truth_file()}: {len(rows):,} rows")
    typer.echo(f"rows sha256  {benchmarks.rows_sha256(rows)}")
    for line in [*warnings, *left_out[:most]]:
        typer.echo(f"  {line}")
    folder = photo_folders.PhotoFolder(benchmark.photo_folder())
    with progress("photos", len(rows)) as advance:
        found = photo_folders.verify(rows, folder, advance)
    typer.echo(f"photos       {folder.folder}: {found.present:,} of {len(rows):,}")
    kinds: list[tuple[str, list[str]]] = [
        ("missing", list(found.missing)),
        ("corrupt", [f"{identity}: {reason}" for identity, reason in found.corrupt]),
        ("placeholder", [f"{identity}: {reason}" for identity, reason in found.placeholders]),
        ("extra", list(found.extra)),
    ]
    for kind, entries in kinds:
        typer.echo(f"{kind:<12} {len(entries):,}")
        for entry in entries[:most]:
            typer.echo(f"  {entry}")
        if len(entries) > most > 0:
            typer.echo(f"  … and {len(entries) - most:,} more; --most {len(entries)} names all")
    for defect in benchmark.defects:
        typer.echo(f"known        {defect}")
    return 0 if found.clean and not warnings and not left_out else 3


def _fetch(benchmark: "Benchmark", kind: str, mirrors: "list[Mirror]") -> None:
    """Try the mirrors in turn until one gives it."""
    from img2loc.bench.datasets.download import FetchError, fetch_photos, fetch_truth
    from img2loc.cli.progress import progress

    if _path(benchmark, kind).exists():
        typer.echo(f"{kind}: {_path(benchmark, kind)} is here.", err=True)
        return
    for mirror in mirrors:
        checked = "SHA-256 known" if mirror.sha256 else "SHA-256 not known"
        typer.echo(
            f"{kind}: trying {mirror.url} ({'; '.join(filter(None, (checked, mirror.note)))})",
            err=True,
        )
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


def _there(path: Path) -> str:
    return f"at {path}" if path.exists() else "not here"
