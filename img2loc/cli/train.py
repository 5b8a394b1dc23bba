"""`img2loc train`: train the baselines on photos of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from img2loc.cli.settings import ConfigFile, load_config

if TYPE_CHECKING:
    from img2loc.config.config import Config
    from img2loc.core.protocols import Source
    from img2loc.data.recipes import Recipe

app = typer.Typer(help="Train the baselines on photos of your own.", no_args_is_help=True)

_Source = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help=(
            "A CSV or Parquet file, a folder of geotagged photos, a recipe's name, or a TOML"
            " recipe."
        ),
    ),
]
_Out = Annotated[
    Path,
    typer.Option(metavar="DIR", help="Where to; run again, the same command goes on from there."),
]
_Photos = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Where a table's photos lie, if not beside it.")
]
_Encoder = Annotated[
    str | None, typer.Option(metavar="NAME", help="The [encoder.NAME] to train with.")
]
_Epochs = Annotated[int | None, typer.Option(metavar="N", help="How often each photo is seen.")]
_Seed = Annotated[
    int | None,
    typer.Option(metavar="S", help="Another seed, another training; the same, the same."),
]
_Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any other key of the [train] table, as TOML writes it; may be repeated.",
    ),
]


@app.command()
def geoclip(
    source: _Source,
    out: _Out,
    photos: _Photos = None,
    encoder: _Encoder = None,
    epochs: _Epochs = None,
    seed: _Seed = None,
    fraction: Annotated[
        float | None, typer.Option(metavar="F", help="The share of the photos to train on.")
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE|CSV",
            help="A share of the photos to hold back, or a CSV of others, to measure on.",
        ),
    ] = None,
    values: _Set = None,
    config: ConfigFile = None,
) -> None:
    """Train GeoCLIP's head and location tower.

    On an image tower's features, which are computed once. Killed, the same command goes on.
    """
    from img2loc.cli.progress import progress, waiting
    from img2loc.cli.system import toml
    from img2loc.config import factory
    from img2loc.training import geoclip as training

    options = {
        "encoder": encoder,
        "epochs": epochs,
        "seed": seed,
        "fraction": fraction,
        "validation": _share(validation),
    }
    tables, settings = _settings("geoclip", options, values, config)
    found = _photos_of(source, photos)
    with waiting(f"Loading the encoder {settings.encoder} …"):
        tower = factory.encoder(tables, settings.encoder)
    with progress("") as advance:
        history = training.train(
            settings,
            tower,
            found,
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
        f"{out}: {last['epoch']} epochs, loss {history[0]['loss']:.3f} → {last['loss']:.3f};"
        f" {measured}. "
        "As an encoder, in your img2loc.toml:\n"
        f'  [encoder.mine]\n  kind = "geoclip"\n  encoder = {toml(settings.encoder)}\n  weights ='
        f" {toml(str(out.resolve()))}\n"
        "Then: img2loc index build POINTS.csv --of points --encoder mine --out PLACES; "
        "img2loc ask PHOTO --gallery PLACES --locator retrieval",
        err=True,
    )


@app.command()
def streetclip(
    source: _Source,
    out: _Out,
    photos: _Photos = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The CLIP to fine-tune: a folder or a hub id."),
    ] = None,
    epochs: _Epochs = None,
    seed: _Seed = None,
    values: _Set = None,
    config: ConfigFile = None,
) -> None:
    """Fine-tune CLIP on captions of places, as StreetCLIP was.

    The captions are of the photos' own places. Killed, the same command goes on.
    """
    from img2loc.cli.progress import progress
    from img2loc.cli.system import toml
    from img2loc.core.errors import SourceError
    from img2loc.training import place_names
    from img2loc.training import streetclip as training

    options = {"model": model, "epochs": epochs, "seed": seed}
    _, settings = _settings("streetclip", options, values, config)
    recipe = _recipe(source)
    if recipe.path is None or recipe.path.is_dir():
        raise SourceError(
            f"{source} is not a CSV or Parquet file. Training StreetCLIP needs one, with photo, lat"
            " and lon, and the places' names if known."
        )
    rows = list(
        place_names.placed_photos(
            recipe.path, photos or recipe.photos, recipe.columns, recipe.licenses
        )
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
        f"{out}: {last['epoch']} epochs, loss {history[0]['loss']:.3f} → {last['loss']:.3f}; the"
        " nearest of a batch's captions "
        f"was the photo's own: {measured}. {last['skipped']} rows were of no use,"
        f" {last['unreadable']} photos cannot be read.\n"
        "As an encoder, in your img2loc.toml:\n"
        f'  [encoder.mine]\n  kind = "transformers"\n  model = {toml(str(out.resolve()))}',
        err=True,
    )


def _settings(
    kind: str, options: dict[str, Any], values: list[str] | None, config: Path | None
) -> tuple["Config", Any]:
    """The configuration, and the settings in its table [train.KIND] with the command line's over them."""
    from img2loc.config import registry

    tables = load_config(config)
    registry.check(tables)
    given = {key: value for key, value in options.items() if value is not None}
    for key, value in map(_assigned, values or ()):
        if key in given:
            raise typer.BadParameter(f"{key} is given twice. Give it once.", param_hint="--set")
        given[key] = value
    tables.override("train", kind, given, "command line")
    table = tables.table("train", kind)
    make = registry.class_of("train", kind, table)
    return tables, registry.call(
        "train", kind, make, registry.arguments_of("train", kind, table, make)
    )


def _assigned(text: str) -> tuple[str, Any]:
    """KEY=VALUE, the value as TOML writes it; what TOML cannot read is a text without its quotes."""
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
    """A share, where it is a number; else the CSV that it names."""
    try:
        return None if validation is None else float(validation)
    except ValueError:
        return validation


def _photos_of(name: str, photos: Path | None) -> "Source":
    """The photographs that a name stands for. Raises SourceError where it stands for points."""
    from dataclasses import replace

    recipe = _recipe(name)
    return replace(recipe, photos=photos or recipe.photos).source()


def _recipe(name: str) -> "Recipe":
    from img2loc.core.errors import SourceError
    from img2loc.data import recipes

    recipe = recipes.find(name)
    if recipe.of != "photos":
        raise SourceError(
            f"The recipe {recipe.name!r} is of {recipe.of}. Training needs photographs whose place"
            " is known."
        )
    return recipe


def _say_skipped(out: Path) -> None:
    from img2loc.gallery.build import pipeline

    if reasons := pipeline.commonest_reasons(out):
        typer.echo(
            f"Some photos could not be used; {out / 'skipped.csv'} says which and why:", err=True
        )
        for line in reasons:
            typer.echo(f"  {line}", err=True)
