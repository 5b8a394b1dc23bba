"""The galleries that a configuration, the user's data folder and the recipes name: where each lies, or how to get it."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2loc.config.config import Config, Table
from img2loc.config.registry import KINDS, arguments_of, class_of
from img2loc.core import paths
from img2loc.core.errors import ConfigError, GalleryError, Img2LocError, UnknownName
from img2loc.core.hub import HubFiles
from img2loc.core.protocols import files_needed
from img2loc.data import recipes
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.faiss_files import VECTORS
from img2loc.gallery.manifest import MANIFEST, PLAN, made_from, read_manifest
from img2loc.gallery.metadata import ROWS

STARTER = "starter"


@dataclass(frozen=True, slots=True)
class GalleryFacts:
    """What the manifest says of a gallery that is not opened."""

    name: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return int(self.manifest["rows"])

    @property
    def of(self) -> str:
        """What its vectors were made from: "photos", "points" or "texts"."""
        return made_from(self.manifest)

    @property
    def encoder_name(self) -> str:
        """The name of the encoder that built it."""
        return str(self.manifest["encoder"]["name"])


def find_gallery(config: Config, name: str, locator: str | None = None) -> GalleryFacts:
    """A gallery by name or folder; "auto" is the largest whose encoder can run here, else the starter gallery.

    Where it is not built, the error says how to get what [locator.LOCATOR] needs. Raises
    GalleryError.
    """
    name = best_gallery(config) if name == "auto" else name
    folder = gallery_folder(config, name, locator)
    return GalleryFacts(name, folder, read_manifest(folder))


def open_gallery(config: Config, name: str) -> Gallery:
    """The opened gallery of that name or folder. Raises GalleryError."""
    return Gallery.open(find_gallery(config, name).folder)


def best_gallery(config: Config) -> str:
    """The name of the largest gallery of the user's whose encoder's weights are on this machine, else "starter"."""
    sizes: dict[str, int] = {}
    for name in known_galleries(config):
        try:
            facts = find_gallery(config, name)
            ways = [
                weights_of(config, *table)
                for table in encoder_tables(config, facts.manifest["encoder"])
            ]
        except Img2LocError:
            continue  # `doctor` says what is wrong with it.
        whole = (facts.folder / VECTORS).exists() and (facts.folder / ROWS).exists()
        runs = any(all(files.cached() for files in way) for way in ways)
        if name != STARTER and facts.of != "texts" and whole and runs:
            sizes[name] = facts.rows
    return max(sizes, key=lambda name: sizes[name], default=STARTER)


def gallery_folder(config: Config, name: str, locator: str | None = None) -> Path:
    """The folder of a gallery: [gallery.name] path, a folder of that name, one built by recipe, one that ships."""
    table = config.table("gallery", name) if config.has("gallery", name) else {}
    if "path" in table or (table and "recipe" not in table):
        if not isinstance(path := table.get("path"), str):
            raise ConfigError(f'[gallery.{name}] needs path = "FOLDER", or recipe = "NAME".')
        return Path(path).expanduser()
    # What lies in the working directory may be other people's: a bare name is there only if it is
    # nowhere else.
    kept: tuple[Path, ...] = (
        (paths.galleries() / name, paths.folder("index") / name) if Path(name).name == name else ()
    )
    for folder in (*kept, Path(name)):
        if (folder / MANIFEST).exists() or (folder / PLAN).exists():
            return folder
    if Path(name).exists() or "/" in name:
        return Path(name)
    if "recipe" in table or name in recipes.known():
        raise _unbuilt(config, recipe(config, name), locator)
    try:
        raise UnknownName("gallery", name, known_galleries(config))
    except UnknownName as error:
        raise GalleryError(f"{error} Build it: img2loc index build SOURCE --out {name}") from error


def known_galleries(config: Config) -> list[str]:
    """Names of galleries: configured, built by recipe, and shipped."""
    built: set[str] = set()
    for place in (paths.galleries(), paths.folder("index")):
        with suppress(OSError):  # A folder that cannot be read has no galleries for us.
            built |= {manifest.parent.name for manifest in place.glob(f"*/{MANIFEST}")}
    return sorted(
        built
        | {
            name
            for name in config.names("gallery")
            if "recipe" not in config.table("gallery", name)
        }
    )


def recipe(config: Config, name: str) -> recipes.Recipe:
    """The recipe of [gallery.name], with its encoder; else as `recipes.find` has it."""
    table = config.table("gallery", name) if config.has("gallery", name) else {}
    found = recipes.find(table.get("recipe", name))
    return (
        replace(found, name=name, encoder=table.get("encoder", found.encoder))
        if "recipe" in table
        else found
    )


def _unbuilt(config: Config, recipe: recipes.Recipe, locator: str | None) -> GalleryError:
    missing = [
        files
        for files in weights_of(config, recipe.encoder, config.table("encoder", recipe.encoder))
        if not files.cached()
    ]
    wanted = "".join(
        f" Its weights {files.repo} ({weights_facts(config, files)}) are not on this machine."
        for files in missing
    )
    remedy = f"img2loc index build {recipe.name}" if recipe.is_whole else recipe.obtain
    if locator is not None:
        remedy = f"img2loc setup {locator}"
    elif missing:
        remedy = f"img2loc setup {recipe.encoder}, then: {remedy}"
    return GalleryError(
        f"The gallery {recipe.name} ({recipe.description}) is not built yet.{wanted} Get it:"
        f" {remedy}"
    )


def encoder_tables(config: Config, stamp: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """The names and tables of the encoder that stamped a gallery: the configuration's, and the remembered one."""
    alias, remembered = str(stamp.get("alias")), stamp["table"]
    tables = [(alias, config.table("encoder", alias))] if config.has("encoder", alias) else []
    if remembered.get("kind") in KINDS["encoder"] and (alias, remembered) not in tables:
        tables.append((alias, remembered))
    return tables


def weights_of(config: Config, name: str, table: Mapping[str, Any]) -> list[HubFiles]:
    """What an encoder takes from a hub, the encoder inside it included; nothing for one whose weights are local."""
    make = class_of("encoder", name, table)
    arguments = arguments_of("encoder", name, table, make)
    inside = arguments.get("encoder")
    if inside == name:
        raise ConfigError(f"[encoder.{name}] names itself as its encoder. Name another.")
    found = weights_of(config, inside, config.table("encoder", inside)) if inside else []
    files = files_needed(make, arguments)
    return found if files is None else [*found, files]


def weights_facts(config: Config, files: HubFiles) -> str:
    """Size and license of a download, as far as the configuration knows them."""
    facts = config.table("download", files.repo) if config.has("download", files.repo) else {}
    return (
        ", ".join(str(facts[key]) for key in ("size", "license") if key in facts) or "size unknown"
    )
