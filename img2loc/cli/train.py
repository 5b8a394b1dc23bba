"""`img2loc train`: train the baselines on photos of your own."""

from pathlib import Path
from typing import Annotated, Any

import typer

from img2loc.cli import train_ablate
from img2loc.cli.config_file import ConfigFile
from img2loc.cli.options import TablePhotos
from img2loc.cli.train_options import (
    Encoder,
    Epochs,
    Out,
    Seed,
    Source,
    Table,
    Values,
    photos_of,
    settings_given,
    share_or_file,
)

app = typer.Typer(
    help="Train the baselines on photos of your own.", no_args_is_help=True, rich_markup_mode=None
)


@app.command()
def geoclip(
    source: Source,
    out: Out,
    photos: TablePhotos = None,
    encoder: Encoder = None,
    epochs: Epochs = None,
    seed: Seed = None,
    fraction: Annotated[
        float | None, typer.Option(metavar="F", help="Train on this share of the photos.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(metavar="SHARE|CSV", help="A share to hold out, or other photos."),
    ] = None,
    values: Values = None,
    table: Table = "geoclip",
    config: ConfigFile = None,
) -> None:
    """Train GeoCLIP's head and location tower.

    The image tower stays as it is, and its features are computed once. Run the same command again
    to resume.
    """
    from img2loc.cli.progress import progress, spinner
    from img2loc.cli.system import toml
    from img2loc.config import factory

    options: dict[str, Any] = {
        "encoder": encoder,
        "epochs": epochs,
        "seed": seed,
        "fraction": fraction,
    }
    options |= {"validation": share_or_file(validation)}
    tables, settings = settings_given("geoclip", table, options, values, config)
    from img2loc.training import geoclip as training  # After the check that its packages are here.

    entries = photos_of(source, photos).source()
    with spinner(f"Loading the encoder {settings.encoder} …"):
        tower = factory.encoder(tables, settings.encoder)
    with progress("") as advance:
        history = training.train(
            settings,
            tower,
            entries,
            out,
            lambda what, done, total, remark: advance(done, total, remark or what),
        )
    _say_skipped(out)
    last = history[-1]
    measured = ", ".join(
        f"{last[name]['25']:.1%} of the {name} photos within 25 km"
        for name in ("training", "validation")
        if name in last
    )
    typer.echo(
        f"{_trained(out, history)}; {measured}. "
        "As an encoder, in your img2loc.toml:\n"
        f'  [encoder.mine]\n  kind = "geoclip"\n  encoder = {toml(settings.encoder)}\n  weights ='
        f" {toml(str(out.resolve()))}\n"
        "Then: img2loc index build POINTS.csv --of points --encoder mine --out PLACES; "
        "img2loc ask PHOTO --gallery PLACES --locator retrieval",
        err=True,
    )


app.command()(train_ablate.ablate)


@app.command()
def streetclip(
    source: Source,
    out: Out,
    photos: TablePhotos = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The CLIP to fine-tune: a folder or a hub id."),
    ] = None,
    epochs: Epochs = None,
    seed: Seed = None,
    values: Values = None,
    table: Table = "streetclip",
    config: ConfigFile = None,
) -> None:
    """Fine-tune CLIP on captions of places, as StreetCLIP was.

    The captions name each photo's place. Run the same command again to resume.
    """
    from img2loc.cli.progress import progress
    from img2loc.cli.system import toml
    from img2loc.core.errors import SourceError

    options: dict[str, Any] = {"model": model, "epochs": epochs, "seed": seed}
    _, settings = settings_given("streetclip", table, options, values, config)
    from img2loc.training import place_names  # After the check that its packages are here.
    from img2loc.training import streetclip as training

    recipe = photos_of(source, photos)
    if recipe.path is None or recipe.path.is_dir():
        raise SourceError(
            f"{source} is not a CSV or Parquet file. Training StreetCLIP needs one, with photo, lat"
            " and lon, and the places' names if known."
        )
    rows = list(
        place_names.placed_photos(recipe.path, recipe.photos, recipe.columns, recipe.licenses)
    )
    total = settings.epochs * sum(isinstance(row, place_names.PlacedPhoto) for row in rows)
    with progress("photos", total) as advance:
        history = training.train(rows, settings, out, advance)
    last = history[-1]
    measured = ", ".join(
        f"{last[key]:.1%} by {key.removesuffix('_accuracy')}"
        for key in last
        if key.endswith("_accuracy")
    )
    typer.echo(
        f"{_trained(out, history)}; the nearest caption of its batch was the photo's own:"
        f" {measured}. {last['skipped']} rows were skipped, {last['unreadable']} photos cannot be"
        " read.\n"
        "As an encoder, in your img2loc.toml:\n"
        f'  [encoder.mine]\n  kind = "transformers"\n  model = {toml(str(out.resolve()))}',
        err=True,
    )


def _trained(out: Path, history: list[dict[str, Any]]) -> str:
    first, last = history[0], history[-1]
    return f"{out}: {last['epoch']} epochs, loss {first['loss']:.3f} → {last['loss']:.3f}"


def _say_skipped(out: Path) -> None:
    from img2loc.gallery.build import pipeline

    if reasons := pipeline.commonest_reasons(out):
        typer.echo(
            f"Some photos could not be used; {out / 'skipped.csv'} says which and why:", err=True
        )
        for line in reasons:
            typer.echo(f"  {line}", err=True)
