"""`img2loc index merge`, `add`, `import` and `export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from img2loc.cli.config_file import ConfigFile, checked_config, load_config

if TYPE_CHECKING:
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
    out: Annotated[Path, typer.Option(metavar="DIR", help="The gallery's folder.")],
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
        typer.Option(metavar="DIR", help="The folder of a table's photos, if not its own."),
    ] = None,
    device: Annotated[str | None, _DEVICE] = None,
    config: ConfigFile = None,
) -> None:
    """Add photos to a gallery, by its own encoder.

    Ids that it has are skipped. Run the same command again to resume.
    """
    from img2loc.cli.progress import progress
    from img2loc.config import gallery_builder

    settings = checked_config(config)
    recipe = gallery_builder.recipe_of(settings, source, path=path, photos=photos)
    with progress("photos") as advance:
        opened = gallery_builder.add(settings, gallery, recipe, device=device, progress=advance)
    say(opened)


def import_(
    embeddings: Annotated[
        Path,
        typer.Argument(metavar="DIR", help="A folder with img_emb/*.npy and metadata/*.parquet."),
    ],
    encoder: Annotated[
        str, typer.Option(metavar="NAME", help="The [encoder.NAME] that made them.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The gallery's folder.")],
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
    from img2loc.cli.progress import progress
    from img2loc.config import gallery_builder

    settings = checked_config(config)
    with progress("rows") as advance:
        opened = gallery_builder.import_(
            settings,
            embeddings,
            encoder,
            out,
            photos=photos,
            places=places,
            spec=spec,
            progress=advance,
        )
    if (check := opened.manifest["imported"]["check"]) is None:
        typer.echo(
            f"That {encoder} made them is taken on your word: only length and dimension were"
            " checked. --photos checks.",
            err=True,
        )
    else:
        typer.echo(
            f"{check['photos']} photos encoded again: cosine {check['median']:.4f} in the middle,"
            f" {check['lowest']:.4f} at least.",
            err=True,
        )
    say(opened)


def export(
    gallery: Annotated[str, typer.Argument(metavar="DIR", help="A gallery's folder or name.")],
    out: Annotated[Path, typer.Argument(metavar="FILE.parquet", help="The file to write.")],
    config: ConfigFile = None,
) -> None:
    """Write the rows of a gallery as Parquet.

    Its columns: id, lat, lon, label, author, license, source.
    """
    from img2loc.config import galleries
    from img2loc.core.errors import SourceError
    from img2loc.gallery.build import export as exporting

    if out.suffix != ".parquet":
        raise SourceError(f"FILE.parquet is {out}: it should end in .parquet.")
    opened = galleries.open_gallery(load_config(config), gallery)
    typer.echo(f"{out}: {exporting.export(opened, out):,} rows.", err=True)


def say(gallery: "Gallery") -> None:
    """Print what came out, and why entries were skipped, most frequent reasons first."""
    from img2loc.gallery.build import pipeline
    from img2loc.gallery.manifest import CALIBRATION
    from img2loc.locators.calibration import FEWEST

    typer.echo(
        f"{gallery.folder}: {len(gallery):,} {gallery.of} by {gallery.encoder_name}, index"
        f" {gallery.manifest['spec']}.",
        err=True,
    )
    if (gallery.folder / CALIBRATION).exists():
        typer.echo("Its radius is calibrated on its own rows.", err=True)
    elif gallery.of == "photos" and len(gallery) >= FEWEST:
        typer.echo(
            f"To know how far to trust it: img2loc index calibrate {gallery.folder}", err=True
        )
    if skipped := gallery.manifest["skipped"]:
        typer.echo(
            f"{skipped:,} entries were skipped; {gallery.folder / 'skipped.csv'} says which and"
            " why:",
            err=True,
        )
        for line in pipeline.commonest_reasons(gallery.folder):
            typer.echo(f"  {line}", err=True)
