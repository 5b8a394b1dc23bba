"""The configuration, as every command loads it."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from img2loc.config.config import Config

ConfigFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Configuration in place of your own img2loc.toml."),
]


def load_config(file: Path | None) -> "Config":
    """The configuration; warns on stderr of an img2loc.toml in the working directory."""
    from img2loc.config.config import USER_FILE, Config, file_in_use

    used = file_in_use(file)  # Before it is read: it may have faults.
    if os.path.lexists(USER_FILE) and (
        used is None or os.path.realpath(used) != os.path.realpath(USER_FILE)
    ):
        typer.echo(
            f"The {USER_FILE} in this folder is not used. If you trust it: --config {USER_FILE}",
            err=True,
        )
    return Config.load(file)


def checked_config(file: Path | None) -> "Config":
    """The same, each of the user's tables checked."""
    from img2loc.config import registry

    config = load_config(file)
    registry.check(config)
    return config
