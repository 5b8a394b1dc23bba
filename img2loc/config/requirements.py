"""What a locator, an encoder or an LMM needs, what is missing, and how to get it."""

from dataclasses import dataclass

from img2loc.config import galleries
from img2loc.config.config import Config
from img2loc.config.plan import Plan, PlannedLmm, plan_lmm
from img2loc.core.errors import Img2LocError
from img2loc.core.hub import HubFiles
from img2loc.core.protocols import NeedsKey, files_needed
from img2loc.data import recipes
from img2loc.gallery.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that is needed: whether it is here, and what to do when it is not."""

    what: str
    ready: bool
    remedy: str = ""
    files: HubFiles | None = None
    size: str = ""
    license: str = ""
    gallery: str = ""
    """A gallery that can be built from its recipe alone."""


def needs(config: Config, locator: str) -> list[Need]:
    """What [locator.NAME] needs as it is configured. Raises UnknownName."""
    plan = Plan(config, locator)
    plan.prompts  # noqa: B018 - raises for one that is not there
    required = [n for name in plan.gallery_names.values() for n in _gallery_needs(config, name)]
    required += [n for name in plan.encoders.values() for n in weights_needs(config, name)]
    required += map(_lmm_need, plan.lmms)
    return list(dict.fromkeys(required))


def setup_needs(config: Config, name: str) -> list[Need]:
    """What `setup NAME` gets: an encoder's or an LMM's weights, or what [setup.NAME] says.

    Raises UnknownName.
    """
    if config.has("encoder", name) and not config.has("locator", name):
        return weights_needs(config, name)
    if config.has("lmm", name):
        return [_lmm_need(plan_lmm(config, name))]
    plan, wanted = Plan(config, name), config.find("setup", name)
    required = weights_needs(config, wanted["encoder"]) if "encoder" in wanted else []
    if "gallery" in wanted:
        required.append(_built_gallery_need(config, wanted["gallery"]))
    required += map(_lmm_need, plan.lmms)
    return required or needs(config, name)


def buildable(config: Config, name: str) -> list[recipes.Recipe]:
    """The recipes that `setup NAME` can build now: none while a download is missing."""
    required = setup_needs(config, name)
    if any(need.files is not None and not need.ready for need in required):
        return []
    return [galleries.recipe(config, need.gallery) for need in required if need.gallery]


def weights_needs(config: Config, name: str, of: str = "photos") -> list[Need]:
    """The weights with which [encoder.NAME] embeds `of`: its downloads, or what is here already."""
    downloads = [
        _files_need(config, "encoder", name, files)
        for files in galleries.weights_of(config, name, config.table("encoder", name), of)
    ]
    return downloads or [Need(f"encoder {name}: weights on this machine", True)]


def _gallery_needs(config: Config, name: str) -> list[Need]:
    try:
        facts = galleries.find_gallery(config, name)
        Gallery.open(facts.folder)  # Raises for a damaged one.
    except Img2LocError as error:
        if name in galleries.known_galleries(config) or not (recipe := _recipe(config, name)):
            return [Need(f"gallery {name}", False, str(error))]
        return [*weights_needs(config, recipe.encoder), _built_gallery_need(config, name)]
    present = Need(f"gallery {facts.name}: {facts.rows:,} rows", True)
    alias = facts.manifest["encoder"]["alias"]
    return [present, *weights_needs(config, alias)] if config.has("encoder", alias) else [present]


def _built_gallery_need(config: Config, name: str) -> Need:
    if name in galleries.known_galleries(config):
        return Need(f"gallery {name}", True)
    if not (recipe := _recipe(config, name)):
        return Need(f"gallery {name}", False, f"img2loc index build SOURCE --out {name}")
    what = f"gallery {name}: {recipe.description}"
    if recipe.is_whole:
        return Need(what, False, f"img2loc index build {name}", license=recipe.terms, gallery=name)
    return Need(what, False, f"{recipe.obtain} Then: {recipe.command}", license=recipe.terms)


def _recipe(config: Config, name: str) -> recipes.Recipe | None:
    known = "recipe" in config.find("gallery", name) or name in recipes.known()
    return galleries.recipe(config, name) if known else None


def _lmm_need(lmm: PlannedLmm) -> Need:
    if isinstance(lmm.make, NeedsKey):
        remedy = lmm.make.lacks(**lmm.arguments)
        return Need(f"lmm {lmm.name}: a key or a server", not remedy, remedy)
    files = files_needed(lmm.make, lmm.arguments)
    if files is None:
        return Need(f"lmm {lmm.name}", True)
    return _files_need(lmm.config, "lmm", lmm.name, files)


def _files_need(config: Config, role: str, name: str, files: HubFiles) -> Need:
    facts = config.find("download", files.repo)
    return Need(
        f"{role} {name}: {files.repo}",
        files.cached() is not None,
        f"img2loc setup {name}",
        files,
        str(facts.get("size", "")),
        str(facts.get("license", "")),
    )
