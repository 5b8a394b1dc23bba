"""`img2loc encoder`: an image tower as a folder that needs no torch."""

from pathlib import Path
from typing import Annotated

import typer

from img2loc.cli.config_file import ConfigFile, checked_config

app = typer.Typer(
    help="Export encoders, to run without torch.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def export(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An [encoder.NAME] table.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The new folder.")],
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photos to check it on, in place of synthetic ones."),
    ] = None,
    int8: Annotated[
        bool, typer.Option("--int8", help="8-bit weights: a quarter of the size, less exact.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Write an encoder's image tower as an ONNX model.

    It is checked against torch, and refused if a photo's two vectors have a cosine below 0.999, or
    0.98 with --int8. Texts and points are not exported.
    """
    from img2loc.cli.progress import spinner
    from img2loc.config.exportable import exportable
    from img2loc.core import extras
    from img2loc.core.errors import SourceError
    from img2loc.core.protocols import LEAST_COSINE
    from img2loc.core.types import Photo
    from img2loc.data.folder import photo_files
    from img2loc.encoders import onnx_export

    extras.require("`encoder export`", *onnx_export.PACKAGES)
    files = photo_files(photos) if photos else []
    if photos and not files:
        raise SourceError(f"The folder {photos} holds no photographs.")
    settings = checked_config(config)
    with spinner(f"Loading the encoder {name} …"):
        encoder = exportable(settings, name)
    with spinner("Exporting, and checking against torch …"):
        done = onnx_export.export(encoder, out, list(map(Photo, files)), int8, name)
    typer.echo(
        f"{out}: {encoder.name}, {done.size_mb:,.0f} MB. Worst cosine over {done.photos}"
        f" {'photos' if files else 'synthetic photos'}: {done.worst_cosine:.6f}. Photos a second:"
        f" {done.torch_rate:.1f} by torch, {done.onnx_rate:.1f} by onnxruntime.\n"
        f"It encodes photos; texts and points need {name} itself. In your img2loc.toml:\n"
        f"{onnx_export.table(out, name)}",
        err=True,
    )
    if done.worst_cosine < LEAST_COSINE:
        typer.echo(
            f"Galleries by {name} do not take its queries, which need a cosine of {LEAST_COSINE}."
            " Build one with it.",
            err=True,
        )
