"""A gallery's name → its folder and manifest, or how to get it; its encoder and weights."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from img2loc.config.config import Config, Table
from img2loc.config.registry import KINDS, require_all, resolve
from img2loc.core import paths
from img2loc.core.errors import ConfigError, GalleryError, Img2LocError, UnknownName
from img2loc.core.hub import HubFiles
from img2loc.core.protocols import LocationAlone, files_needed
from img2loc.data import recipes
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.faiss_files import VECTORS
from img2loc.gallery.manifest import MANIFEST, PLAN, made_from, read_manifest
from img2loc.gallery.metadata import ROWS

STARTER = "starter"


@dataclass(frozen=True, slots=True)
class GalleryFacts:
    """A gallery's folder and what its manifest says; the gallery is not opened."""

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
    """A gallery by name or folder; "auto" is that of `best_gallery`.

    Raises GalleryError; for one that is not built, with how to get what [locator.LOCATOR] needs.
    """
    name = best_gallery(config) if name == "auto" else name
    folder = gallery_folder(config, name, locator)
    return GalleryFacts(name, folder, read_manifest(folder))


def open_gallery(config: Config, name: str) -> Gallery:
    """The opened gallery of that name or folder. Raises GalleryError."""
    return Gallery.open(find_gallery(config, name).folder)


def best_gallery(config: Config) -> str:
    """The name of the user's largest gallery whose encoder can run here, else "starter"."""
    sizes: dict[str, int] = {}
    for name in known_galleries(config):
        try:
            facts = find_gallery(config, name)
            encoders = [
                weights_of(config, *table)
                for table in encoder_tables(config, facts.manifest["encoder"])
            ]
        except Img2LocError:
            continue  # `doctor` says what is wrong with it.
        whole = (facts.folder / VECTORS).exists() and (facts.folder / ROWS).exists()
        runs = any(all(files.cached() for files in downloads) for downloads in encoders)
        if name != STARTER and facts.of != "texts" and whole and runs:
            sizes[name] = facts.rows
    return max(sizes, key=sizes.__getitem__, default=STARTER)


def gallery_folder(config: Config, name: str, locator: str | None = None) -> Path:
    """The folder of a gallery: [gallery.name] path, one built or shipped, or a folder."""
    table = config.find("gallery", name)
    if "path" in table or (table and "recipe" not in table):
        if not isinstance(path := table.get("path"), str):
            raise ConfigError(f'[gallery.{name}] needs path = "FOLDER", or recipe = "NAME".')
        return Path(path).expanduser()
    kept = [folder / name for folder in _shelves() if Path(name).name == name]
    has_recipe = "recipe" in table or name in recipes.known()
    # What lies in the working directory may be other people's: it does not take a recipe's name.
    for folder in kept if has_recipe else (*kept, Path(name)):
        if (folder / MANIFEST).exists() or (folder / PLAN).exists():
            return folder
    if has_recipe:
        raise _unbuilt(config, recipe(config, name), locator)
    if Path(name).exists() or "/" in name:
        return Path(name)
    try:
        raise UnknownName("gallery", name, known_galleries(config))
    except UnknownName as error:
        raise GalleryError(f"{error} Build it: img2loc index build SOURCE --out {name}") from error


def known_galleries(config: Config) -> list[str]:
    """Names of galleries: configured, built by recipe, and shipped."""
    built: set[str] = set()
    for place in _shelves():
        with suppress(OSError):  # A folder that cannot be read has no galleries for us.
            built |= {manifest.parent.name for manifest in place.glob(f"*/{MANIFEST}")}
    tables = {name: config.table("gallery", name) for name in config.names("gallery")}
    return sorted(built | {name for name, table in tables.items() if "recipe" not in table})


def _shelves() -> tuple[Path, Path]:
    """The folders in which galleries are kept: the user's and the one that ships."""
    return paths.galleries(), paths.folder("index")


def recipe(config: Config, name: str) -> recipes.Recipe:
    """The recipe of [gallery.name], with its encoder; else as `recipes.find` has it."""
    table = config.find("gallery", name)
    if "recipe" not in table:
        return recipes.find(name)
    base = recipes.find(table["recipe"])
    return replace(base, name=name, encoder=table.get("encoder", base.encoder))


def _unbuilt(config: Config, recipe: recipes.Recipe, locator: str | None) -> GalleryError:
    table = config.table("encoder", recipe.encoder)
    of = recipe.of if locator is None else "photos"  # A locator's queries are photographs.
    wanted = "".join(
        f" Its weights {files.repo} ({weights_facts(config, files)}) are not on this machine."
        for files in weights_of(config, recipe.encoder, table, of)
        if not files.cached()
    )
    remedy = f"img2loc index build {recipe.name}" if recipe.is_whole else recipe.obtain
    if locator is not None:
        remedy = f"img2loc setup {locator}"
    elif wanted:
        remedy = f"img2loc setup {recipe.encoder}, then: {remedy}"
    here = (
        f" The folder of that name here is ./{recipe.name}." if Path(recipe.name).exists() else ""
    )
    return GalleryError(
        f"The gallery {recipe.name} ({recipe.description}) is not built yet.{wanted}{here} Get it:"
        f" {remedy}"
    )


def encoder_tables(config: Config, stamp: Mapping[str, Any]) -> list[tuple[str, Table]]:
    """The names and tables of a gallery's encoder: the configuration's, and the stamped one."""
    alias, stamped = str(stamp.get("alias")), stamp["table"]
    tables = [(alias, table)] if (table := config.find("encoder", alias)) else []
    if str(stamped.get("kind")) in KINDS["encoder"] and (alias, stamped) not in tables:
        tables.append((alias, stamped))
    return tables


def weights_of(
    config: Config, name: str, table: Mapping[str, Any], of: str = "photos"
) -> list[HubFiles]:
    """What an encoder, and the encoder inside it, take from a hub; empty where all is local.

    `of` is what it embeds: for "points" an image tower's may not be needed.
    """
    make, arguments = resolve("encoder", name, table)
    require_all("encoder", name, make, arguments)
    inside = arguments.get("encoder")
    if inside == name:
        raise ConfigError(f"[encoder.{name}] names itself as its encoder. Name another.")
    if of == "points" and isinstance(make, LocationAlone):
        inside = None
    downloads = weights_of(config, inside, config.table("encoder", inside)) if inside else []
    files = files_needed(make, arguments)
    return downloads if files is None else [*downloads, files]


def weights_facts(config: Config, files: HubFiles) -> str:
    """Size and license of a download, as far as the configuration knows them."""
    facts = config.find("download", files.repo)
    known = [str(facts[key]) for key in ("size", "license") if key in facts]
    return ", ".join(known) or "size unknown"
