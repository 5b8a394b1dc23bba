"""`img2loc index tune` (probe counts by measured recall) and `index verify` (whole files)."""

import json
from typing import Annotated

import typer

from img2loc.cli.config_file import ConfigFile, load_config


def tune(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    recall: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.01, max=1, help="Share of the nearest that must be found."
        ),
    ] = 0.99,
    far_recall: Annotated[
        float,
        typer.Option(
            metavar="SHARE", min=0.01, max=1, help="Share of the farthest that must be found."
        ),
    ] = 0.95,
    config: ConfigFile = None,
) -> None:
    """Choose how many lists of an inverted file are read.

    By measurement, for either end; the numbers are kept in the gallery.
    """
    from img2loc.config import galleries
    from img2loc.gallery import index_recall
    from img2loc.gallery.build.build_folder import workspace
    from img2loc.gallery.build.shards import Shards

    opened = galleries.open_gallery(load_config(config), gallery)
    index_recall.require_lists(opened)
    with workspace(opened.folder).locked():
        measurements = index_recall.tune(
            opened, Shards.of(opened.folder, rows=len(opened)), recall, far_recall
        )
    typer.echo(json.dumps(measurements["recall"], indent=1))


def verify(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    config: ConfigFile = None,
) -> int:
    """Check that a gallery's files are whole.

    Checksums, counts, unit length, coordinates. Exit status 1 where something is wrong.
    """
    from img2loc.config import galleries
    from img2loc.gallery import verify as verification

    folder = galleries.gallery_folder(load_config(config), gallery)
    code = 0
    for line in verification.problems(folder):
        typer.echo(line, err=True)
        code = 1
    if not code:
        typer.echo(f"{folder}: every check passed.", err=True)
    return code
