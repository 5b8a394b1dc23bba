"""`img2loc index`: build galleries, look into them, search them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from img2loc.cli import calibrate, index_ingest, index_tune
from img2loc.cli.config_file import ConfigFile, checked_config, load_config

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def prepare() -> None:
    """Build galleries, look into them, search them."""
    from img2loc.core.memory import return_large_blocks

    return_large_blocks()


def build(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=(
                "A CSV or Parquet file, a folder of photos or archives, or a recipe by name or"
                " file."
            ),
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The gallery's folder; by default in your data folder, by the recipe's name.",
        ),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="NAME", help="An [encoder.NAME] table.")
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            metavar="FAISS", help="A FAISS factory string, such as SQfp16 or IVF1024,SQ8."
        ),
    ] = None,
    path: Annotated[
        Path | None,
        typer.Option(
            "--source", metavar="FILE", help="The recipe's table or folder, where it names none."
        ),
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="The folder of a table's photos, if not its own."),
    ] = None,
    of: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="What to embed: photos, or points (coordinates alone)."),
    ] = None,
    license: Annotated[
        list[str] | None,
        typer.Option(
            "--license",
            "--licence",
            metavar="PHRASE",
            help="Only rows of this license; may be repeated.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="Where the encoder computes, such as cuda:0, in place of its table's.",
        ),
    ] = None,
    part: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Only embed the I-th of N parts, for `index merge`."),
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Make a gallery from photos whose place is known.

    Run the same command again to resume an interrupted build.
    """
    from img2loc.cli.progress import progress
    from img2loc.config import gallery_builder

    settings = checked_config(config)
    recipe = gallery_builder.recipe_of(
        settings,
        source,
        encoder=encoder,
        spec=spec,
        of=of,
        path=path,
        photos=photos,
        licenses=tuple(license or ()),
    )
    with progress(recipe.of) as advance:
        if part is None:
            gallery = gallery_builder.build(settings, recipe, out, device=device, progress=advance)
        else:
            shards = gallery_builder.embed(
                settings, recipe, out, part, device=device, progress=advance
            )
    if part is None:
        index_ingest.say(gallery)
    else:
        typer.echo(
            f"{out}: part {part}, {shards:,} shards. When all are done: img2loc index merge"
            " DIR... --out DIR",
            err=True,
        )


def info(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    config: ConfigFile = None,
) -> None:
    """Print a gallery's manifest, size and coverage, as JSON."""
    from img2loc.config import galleries

    found = galleries.find_gallery(load_config(config), gallery)
    size = sum(file.stat().st_size for file in found.folder.iterdir() if file.is_file())
    facts = {"name": found.name, "folder": str(found.folder), **found.manifest, "bytes": size}
    typer.echo(json.dumps(facts, indent=1, ensure_ascii=False))


def query(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    photo: Annotated[Path, typer.Argument(metavar="PHOTO", help="The photo to search with.")],
    k: Annotated[
        int, typer.Option("-k", metavar="N", min=1, help="Print the N nearest and the N farthest.")
    ] = 5,
    config: ConfigFile = None,
) -> int:
    """Print the nearest and farthest entries for one photo.

    As JSON, one entry a line.
    """
    from img2loc.config import factory as maker
    from img2loc.config import galleries
    from img2loc.core.guess_json import neighbour_record
    from img2loc.core.types import Photo, Rejected
    from img2loc.gallery.neighbours import Retriever

    settings = checked_config(config)
    opened = galleries.open_gallery(settings, gallery)
    retriever = Retriever(maker.encoder_of(settings, opened), opened)
    _, found = next(retriever.neighbours([Photo(photo)], k, k))
    if isinstance(found, Rejected):
        typer.echo(f"{photo}: {found.reason}", err=True)
        return 3
    for end, entries in (("nearest", found.nearest), ("farthest", found.farthest)):
        for entry in entries:
            typer.echo(json.dumps({"end": end, **neighbour_record(entry)}, ensure_ascii=False))
    return 0


app.command()(build)  # The order is that of `--help`.
app.command()(info)
app.command()(query)
app.command()(index_ingest.add)
app.command()(index_ingest.merge)
app.command("import")(index_ingest.import_)
app.command()(index_ingest.export)
app.command()(index_tune.tune)
app.command("calibrate")(calibrate.calibrate_gallery)
app.command()(index_tune.verify)
