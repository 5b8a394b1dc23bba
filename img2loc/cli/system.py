"""`img2loc setup`, `doctor` and `config show`: what is here, what is missing, how to get it."""

import json
import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from img2loc.cli.config_file import ConfigFile, checked_config, load_config
from img2loc.cli.stdio import plain

if TYPE_CHECKING:
    from img2loc.config.requirements import Need

config_app = typer.Typer(
    help="Look at the configuration.", no_args_is_help=True, rich_markup_mode=None
)


def setup(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A locator, an encoder or an LMM.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Fetch without asking.")] = False,
    config: ConfigFile = None,
) -> int:
    """Fetch what a locator, an encoder or an LMM needs.

    It shows sizes and licenses, and asks; then it builds the galleries that need no photographs.
    """
    from img2loc.cli import index_ingest
    from img2loc.cli.progress import progress, tqdm_bar
    from img2loc.config import gallery_builder, requirements
    from img2loc.core.memory import return_large_blocks

    settings = checked_config(config)
    needs = requirements.setup_needs(settings, name)
    for need in needs:
        _print_need(need)
    for need in needs:
        if need.files is None or need.ready:
            continue
        names, size, license = need.files.listing()
        typer.echo(
            f"\n{need.files.repo}: {size / 1e9:.2f} GB, license {need.license or license}, into the"
            " Hugging Face cache.",
            err=True,
        )
        if yes or typer.confirm("Fetch it?", err=True):
            typer.echo(f"Fetched: {need.files.fetch(names, tqdm_bar())}", err=True)
    return_large_blocks()
    for recipe in requirements.buildable(settings, name):
        with progress(recipe.of) as advance:
            gallery = gallery_builder.build(settings, recipe, progress=advance)
        index_ingest.say(gallery)
    return 0 if all(need.ready for need in requirements.setup_needs(settings, name)) else 3


def doctor(
    everything: Annotated[
        bool, typer.Option("--all", help="Versions, machine, environment, and each part by name.")
    ] = False,
    config: ConfigFile = None,
) -> None:
    """Say which locators can run now, and what the others lack.

    It says how to get that.
    """
    from img2loc.config.doctor import report, summary

    settings = load_config(config)
    for title, lines in report(settings) if everything else summary(settings):
        typer.echo(title)
        for line in lines:
            typer.echo(f"  {line}")
    if not everything:
        typer.echo("More: img2loc doctor --all", err=True)


@config_app.command()
def show(
    config: ConfigFile = None,
) -> None:
    """Print the resolved tables as TOML, each key with where it came from."""
    from img2loc.config.config import ROLES

    settings = checked_config(config)
    typer.echo("[ask]")
    for key, value in settings.ask.items():
        typer.echo(f"{key} = {toml(value)}")
    for role in ROLES:
        for name in settings.names(role):
            typer.echo(f"\n[{role}.{_toml_key(name)}]")
            for key, value in settings.table(role, name).items():
                typer.echo(
                    f"{_toml_key(key)} = {toml(value)}  # {plain(settings.origin(role, name, key))}"
                )


def toml(value: Any) -> str:
    """A value as TOML writes it; the standard library only reads it."""
    if isinstance(value, dict):
        return (
            "{ "
            + ", ".join(f"{_toml_key(key)} = {toml(entry)}" for key, entry in value.items())
            + " }"
        )
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(
            value, ensure_ascii=False
        )  # TOML forbids \x7f too; the gate writes it as an escape.
    return str(value).lower() if isinstance(value, bool | float) else str(value)


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else toml(key)


def _print_need(need: "Need") -> None:
    typer.echo(f"{'present' if need.ready else 'missing'}  {need.what}", err=True)
    if not need.ready:
        for fact in filter(
            None,
            (
                need.size,
                need.license and f"license: {need.license}",
                need.files is None and need.remedy,
            ),
        ):
            typer.echo(f"         {fact}", err=True)
