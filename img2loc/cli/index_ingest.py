"""`img2loc index merge | add | import | export`: galleries of parts, with more photos, from embeddings, and their rows."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli.settings import ConfigFile, load_config

if TYPE_CHECKING:
    from img2loc.config.config import Config
    from img2loc.gallery.gallery import Gallery

_DEVICE = typer.Option(
    metavar="DEVICE",
    help="Where the encoder computes, such as cuda:0 or cpu, in place of its table's.",
)


def merge(
    parts: Annotated[
        list[Path],
        typer.Argument(metavar="DIR", help="The folders that `index build --part` filled."),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to.")],
) -> None:
    """Put the parts of one build together.

    All of them, each once, of one source and one encoder.
    """
    from img2loc.gallery.build import merge as merging

    say(merging.merge(parts, out))


def add(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What `index build` takes.")],
    path: Annotated[
        Path | None, typer.Option("--source", metavar="FILE", help="The recipe's table or folder.")
    ] = None,
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where a table's photos lie, if not beside it."),
    ] = None,
    device: Annotated[str | None, _DEVICE] = None,
    config: ConfigFile = None,
) -> None:
    """Add photos to a gallery, by its own encoder.

    Ids that it has are passed over. Killed, the same command goes on.
    """
    from dataclasses import replace

    from img2loc.cli.progress import progress, waiting
    from img2loc.config import factory as maker
    from img2loc.config import galleries, registry
    from img2loc.core.errors import GalleryError
    from img2loc.gallery.build import append

    settings = load_config(config)
    registry.check(settings)
    recipe = galleries.recipe(settings, source)
    recipe = replace(recipe, path=path or recipe.path, photos=photos or recipe.photos)
    if recipe.of != "photos":
        raise GalleryError(
            f"{source} is of {recipe.of}, and only photos can be added. Build another gallery of"
            " them."
        )
    found = recipe.source()
    folder = galleries.gallery_folder(settings, gallery)
    stamp = append.stamp_of(folder)
    alias = str(stamp.get("alias"))
    if not settings.has("encoder", alias):
        raise GalleryError(
            f"{folder} was built by [encoder.{alias}], which your configuration does not have. Put"
            " it there."
        )
    use_device(settings, alias, device)
    with waiting(f"Loading the encoder {alias} …"):
        made = maker.encoder(settings, alias)
    with progress("photos", len(found)) as advance:
        opened = append.add(found, made, folder, name=recipe.name, progress=advance)
    say(opened)


def import_(
    embeddings: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with img_emb/*.npy and metadata/*.parquet."),
    ],
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="The [encoder.NAME] that made them.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where to.")],
    photos: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Photos of some rows: a few are encoded again to check."),
    ] = None,
    places: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A table of coordinates by id, where the metadata have none."
        ),
    ] = None,
    spec: Annotated[
        str, typer.Option(metavar="FAISS", help="A FAISS factory string, such as SQfp16.")
    ] = "auto",
    config: ConfigFile = None,
) -> None:
    """Make a gallery from embeddings, without the photos.

    In the layout of clip-retrieval.
    """
    from img2loc.cli.progress import progress, waiting
    from img2loc.config import factory as maker
    from img2loc.config import registry
    from img2loc.gallery.build import import_embeddings

    settings = load_config(config)
    registry.check(settings)
    found = import_embeddings.Embeddings(embeddings, places)
    with waiting(f"Loading the encoder {encoder} …"):
        made = maker.encoder(settings, encoder)
    check = import_embeddings.check(found, made, photos) if photos else None
    with progress("rows", len(found)) as advance:
        table = settings.table("encoder", encoder)
        opened = import_embeddings.build(
            found, made, out, alias=encoder, table=table, spec=spec, check=check, progress=advance
        )
    if check is None:
        typer.echo(
            f"That {encoder} made them is taken on your word: only length and dimension were"
            " checked. --photos checks.",
            err=True,
        )
    else:
        typer.echo(
            f"{check.photos} photos encoded again: cosine {check.median:.4f} in the middle,"
            f" {check.lowest:.4f} at least.",
            err=True,
        )
    say(opened)


def export(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    out: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="Where to.")],
    config: ConfigFile = None,
) -> None:
    """Write the rows of a gallery as Parquet.

    Its columns: id, lat, lon, label, author, license, source.
    """
    from img2loc.config import galleries
    from img2loc.gallery.build import export as exporting

    opened = galleries.open_gallery(load_config(config), gallery)
    typer.echo(f"{out}: {exporting.export(opened, out):,} rows.", err=True)


def use_device(settings: "Config", encoder: str, device: str | None) -> None:
    """Let an encoder compute on a device; one that has another inside hands it on.

    Raises ConfigError for what takes none.
    """
    import inspect

    from img2loc.config.registry import class_of
    from img2loc.core.errors import ConfigError

    if device is None:
        return
    table = settings.table("encoder", encoder)
    parameters = inspect.signature(class_of("encoder", encoder, table)).parameters
    if "device" in parameters:
        settings.override("encoder", encoder, {"device": device}, "command line")
    elif isinstance(table.get("encoder"), str) and table["encoder"] != encoder:
        use_device(settings, table["encoder"], device)
    else:
        raise ConfigError(f"The encoder {encoder!r} takes no device. Leave --device out.")


def say(gallery: "Gallery") -> None:
    """Print what came out, and why entries were skipped, most frequent reasons first."""
    from img2loc.gallery.build import pipeline

    typer.echo(
        f"{gallery.folder}: {len(gallery):,} {gallery.of} by {gallery.encoder_name}, index"
        f" {gallery.manifest['spec']}.",
        err=True,
    )
    if skipped := gallery.manifest["skipped"]:
        typer.echo(
            f"{skipped:,} entries were skipped; {gallery.folder / 'skipped.csv'} says which and"
            " why:",
            err=True,
        )
        for line in pipeline.commonest_reasons(gallery.folder):
            typer.echo(f"  {line}", err=True)
