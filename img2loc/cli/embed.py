"""`img2loc embed`: the vectors of photographs or points, for other programs."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import TablePhotos


def embed(
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="A CSV or Parquet file, a folder, or a photo.")
    ],
    encoder: Annotated[str, typer.Option(metavar="NAME", help="An [encoder.NAME] table.")],
    out: Annotated[Path, typer.Option(metavar="FILE.npy", help="The output file.")],
    photos: TablePhotos = None,
    of: Annotated[
        Literal["photos", "points"] | None,
        typer.Option(metavar="KIND", help="photos or points, if a table has both."),
    ] = None,
    config: ConfigFile = None,
) -> int:
    """Write one float32 unit vector for each photo or point, in order.

    Run the same command again to resume.
    """
    from img2loc.cli.progress import progress, spinner
    from img2loc.config import factory
    from img2loc.core.errors import SourceError
    from img2loc.core.protocols import name_for
    from img2loc.encoders import embed_to_file

    if out.suffix != ".npy":
        raise SourceError(f"--out {out} should end in .npy.")
    settings = checked_config(config)
    inputs = embed_to_file.Inputs(source, photos, of)
    with spinner(f"Loading the encoder {encoder} …"):
        model = factory.encoder(settings, encoder, deferred=inputs.of == "points")
    with progress(inputs.of, len(inputs)) as advance:
        skipped = embed_to_file.embed(inputs, model, out, advance)
    name = name_for(model, inputs.of)
    typer.echo(f"{out}: {len(inputs):,} rows of {model.dim} by {name}.", err=True)
    if skipped:
        note = out.with_suffix(".json")
        typer.echo(f"{len(skipped):,} rows are NaN; {note} says which and why:", err=True)
        for row, identity, reason in skipped[:5]:
            typer.echo(f"  row {row}, {identity}: {reason}", err=True)
    return 3 if skipped else 0
