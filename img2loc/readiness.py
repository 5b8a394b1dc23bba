"""What a locator needs, what of it is here, and how to get the rest: for `doctor` and `setup`."""

import inspect
from dataclasses import dataclass

from img2loc import build, galleries, making, recipes
from img2loc.config import Config
from img2loc.errors import Img2LocError
from img2loc.hub import HubFiles
from img2loc.prompts import Template


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a locator needs: whether it is here, and what to do when it is not."""

    what: str
    ready: bool
    remedy: str = ""
    files: HubFiles | None = None
    size: str = ""
    licence: str = ""
    gallery: str = ""
    """A gallery that can be built here from its recipe alone."""


def needs(config: Config, locator: str) -> list[Need]:
    """What [locator.NAME] needs as it is configured. Raises UnknownName."""
    table = config.table("locator", locator)
    parameters = inspect.signature(making.class_of("locator", locator, table)).parameters
    found: list[Need] = []
    for key in making.GALLERIES:
        if key in parameters:
            found += _gallery_needs(config, table.get(key, "auto"))
    for key in ("encoder", "verifier"):
        if key in table:
            found += weights_needs(config, table[key])
    for key in ("prompt", "zeroshot_prompt"):
        if key in table:
            Template.load(table[key])
    if "lmm" in parameters:
        found.append(_lmm_need(config, table.get("lmm", "gpt")))
    return list(dict.fromkeys(found))


def setup_needs(config: Config, name: str) -> list[Need]:
    """What `setup NAME` should gather: for a locator what gives world-wide answers, for an encoder or an LMM its weights.

    Raises UnknownName.
    """
    if config.has("encoder", name) and not config.has("locator", name):
        return weights_needs(config, name)
    if config.has("lmm", name):
        return [_lmm_need(config, name)]
    table = config.table("locator", name)
    wanted = config.table("setup", name) if config.has("setup", name) else {}
    found: list[Need] = []
    if "encoder" in wanted:
        found += weights_needs(config, wanted["encoder"])
    if "gallery" in wanted:
        found.append(_built_gallery_need(config, wanted["gallery"]))
    parameters = inspect.signature(making.class_of("locator", name, table)).parameters
    if "lmm" in parameters:
        found.append(_lmm_need(config, table.get("lmm", "gpt")))
    return found or needs(config, name)


def weights_needs(config: Config, name: str) -> list[Need]:
    """The weights of [encoder.NAME]: one or more downloads, or what is here already."""
    found = []
    for files in galleries.weights_of(config, name, config.table("encoder", name)):
        facts = config.table("download", files.repo) if config.has("download", files.repo) else {}
        size, licence = str(facts.get("size", "")), str(facts.get("licence", ""))
        what = f"encoder {name}: {files.repo}"
        found.append(Need(what, files.cached() is not None, f"img2loc setup {name}", files, size, licence))
    return found or [Need(f"encoder {name}: weights on this machine", True)]


def _gallery_needs(config: Config, name: str) -> list[Need]:
    try:
        name, gallery = galleries.open_gallery(config, name)
    except Img2LocError as error:
        if name in galleries.known_galleries(config) or not (recipe := _recipe(config, name)):
            return [Need(f"gallery {name}", False, str(error))]
        return [*weights_needs(config, recipe.encoder), _built_gallery_need(config, name)]
    here = Need(f"gallery {name}: {len(gallery):,} rows", True)
    alias = gallery.manifest["encoder"]["alias"]
    return [here, *weights_needs(config, alias)] if config.has("encoder", alias) else [here]


def _built_gallery_need(config: Config, name: str) -> Need:
    if name in galleries.known_galleries(config):
        return Need(f"gallery {name}", True)
    if not (recipe := _recipe(config, name)):
        return Need(f"gallery {name}", False, f"img2loc index build SOURCE --out {name}")
    what = f"gallery {name}: {recipe.description}"
    if recipe.is_whole:
        return Need(what, False, f"img2loc index build {name}", licence=recipe.terms, gallery=name)
    remedy = f"{recipe.obtain} Then: {recipe.command}"
    return Need(what, False, remedy, licence=recipe.terms)


def _recipe(config: Config, name: str) -> recipes.Recipe | None:
    by_table = config.has("gallery", name) and "recipe" in config.table("gallery", name)
    return galleries.recipe(config, name) if by_table or name in recipes.known() else None


def _lmm_need(config: Config, name: str) -> Need:
    table = config.table("lmm", name)
    if table.get("kind") == "openai" and "base_url" not in table:
        remedy = "export OPENAI_API_KEY, or OPENAI_BASE_URL for a server of your own"
        return Need(f"lmm {name}: a key or a server", build.lmm_available(), remedy)
    needs = getattr(making.class_of("lmm", name, table), "needs", None)
    files = needs(**{key: value for key, value in table.items() if key != "kind"}) if needs else None
    if files is None:
        return Need(f"lmm {name}", True)
    facts = config.table("download", files.repo) if config.has("download", files.repo) else {}
    size, licence = str(facts.get("size", "")), str(facts.get("licence", ""))
    return Need(f"lmm {name}: {files.repo}", files.cached() is not None, f"img2loc setup {name}", files, size, licence)
