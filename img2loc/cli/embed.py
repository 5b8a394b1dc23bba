"""`img2loc embed`: vectors of photographs or points, for other uses."""

from pathlib import Path
from typing import Annotated

import typer

from img2loc.cli.settings import ConfigFile, load_config


def embed(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE",
            help="A CSV or Parquet file of points or of photos, a folder of photos, or a photo.",
        ),
    ],
    encoder: Annotated[str, typer.Option(metavar="NAME", help="An [encoder.NAME] table.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="Where to.")],
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where a table's photos lie, if not beside it."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="photos or points, where a table could be either."),
    ] = None,
    config: ConfigFile = None,
) -> int:
    """Write one float32 unit vector for each photo or point, in order.

    Interrupted or killed, the same command goes on.
    """
    from img2loc.cli.progress import progress, waiting
    from img2loc.config import factory, registry
    from img2loc.core.errors import SourceError
    from img2loc.encoders import embed_file

    if out.suffix != ".npy":
        raise SourceError(f"--out {out} should end in .npy.")
    if of not in (None, "photos", "points"):
        raise SourceError(f"--of {of}: say photos or points.")
    settings = load_config(config)
    registry.check(settings)
    inputs = embed_file.Inputs(source, photos, of)
    with waiting(f"Loading the encoder {encoder} …"):
        made = factory.encoder(settings, encoder)
    with progress(inputs.of, len(inputs)) as advance:
        skipped = embed_file.embed(inputs, made, out, advance)
    typer.echo(f"{out}: {len(inputs):,} rows of {made.dim} by {made.name}.", err=True)
    if skipped:
        typer.echo(
            f"Rows that are NaN: {len(skipped):,}; {out.with_suffix('.json')} says which and why:",
            err=True,
        )
        for row, identity, reason in skipped[:5]:
            typer.echo(f"  row {row}, {identity}: {reason}", err=True)
    return 3 if skipped else 0
