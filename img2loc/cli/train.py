"""`img2loc train`: train the baselines on photos of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from img2loc.cli.config_file import ConfigFile, checked_config
from img2loc.cli.options import TablePhotos

if TYPE_CHECKING:
    from img2loc.config.config import Config
    from img2loc.data.recipes import Recipe

app = typer.Typer(help="Train the baselines on photos of your own.", no_args_is_help=True)

Source = Annotated[
    str,
    typer.Argument(metavar="SOURCE", help="A CSV or Parquet file, a folder, or a recipe."),
]
Out = Annotated[Path, typer.Option(metavar="DIR", help="The output folder.")]
Encoder = Annotated[
    str | None, typer.Option(metavar="NAME", help="The image tower: an [encoder.NAME] table.")
]
Epochs = Annotated[int | None, typer.Option(metavar="N", help="The number of epochs.")]
Seed = Annotated[int | None, typer.Option(metavar="S", help="The seed of all that is random.")]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the [train] table; repeatable."),
]
Table = Annotated[
    str, typer.Option("--table", metavar="NAME", help="The [train.NAME] table to take values from.")
]


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
    options |= {"validation": _share(validation)}
    tables, settings = _settings("geoclip", table, options, values, config)
    from img2loc.training import geoclip as training  # After the check that its packages are here.

    entries = _recipe(source, photos).source()
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
    _, settings = _settings("streetclip", table, options, values, config)
    from img2loc.training import place_names  # After the check that its packages are here.
    from img2loc.training import streetclip as training

    recipe = _recipe(source, photos)
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


def _settings(
    kind: str, name: str, options: dict[str, Any], values: list[str] | None, config: Path | None
) -> tuple["Config", Any]:
    """The configuration, and the values of [train.NAME] with the command line's over them."""
    from img2loc.config import registry
    from img2loc.core.errors import ConfigError

    tables = checked_config(config)
    if (found := tables.table("train", name).get("kind")) != kind:
        raise ConfigError(
            f"[train.{name}] is of kind {found!r}, not {kind!r}. Name another --table."
        )
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in map(_assigned, values or ()):
        if key in given:
            raise typer.BadParameter(f"{key} is given twice. Give it once.", param_hint="--set")
        given[key] = value
    tables.override("train", name, given, "command line")
    table = tables.table("train", name)
    make = registry.class_of("train", name, table)
    return tables, registry.call(
        "train", name, make, registry.arguments_of("train", name, table, make)
    )


def _assigned(text: str) -> tuple[str, Any]:
    """The key and the value of KEY=VALUE; a value that TOML cannot read is text without quotes."""
    import tomllib

    from img2loc.core.errors import ConfigError

    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not KEY=VALUE. Write it as --set lr=1e-3.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _share(validation: str | None) -> float | str | None:
    try:
        return None if validation is None else float(validation)
    except ValueError:
        return validation


def _recipe(name: str, photos: Path | None) -> "Recipe":
    """The recipe of that name, of photographs. Raises SourceError where it is of something else."""
    from dataclasses import replace

    from img2loc.core.errors import SourceError
    from img2loc.data import recipes

    recipe = recipes.find(name)
    if recipe.of != "photos":
        raise SourceError(
            f"The recipe {recipe.name!r} is of {recipe.of}. Training needs photographs whose place"
            " is known."
        )
    return replace(recipe, photos=photos or recipe.photos)


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
