"""What the commands of `img2loc train` share: options, settings, the photographs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from img2loc.cli.config_file import checked_config

if TYPE_CHECKING:
    from img2loc.config.config import Config
    from img2loc.data.recipes import Recipe

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
Table = Annotated[
    str, typer.Option("--table", metavar="NAME", help="The [train.NAME] table to take values from.")
]
Values = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set a key of the [train] table; repeatable."),
]


def settings_given(
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


def share_or_file(validation: str | None) -> float | str | None:
    """What --validation names: a share, or a file."""
    try:
        return None if validation is None else float(validation)
    except ValueError:
        return validation


def photos_of(name: str, photos: Path | None) -> "Recipe":
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
