"""What a locator needs, what of it is here, and how to get the rest: for `doctor` and `setup`."""

from dataclasses import dataclass

from img2loc.config import galleries
from img2loc.config.config import Config
from img2loc.config.plan import Plan, PlannedLmm, plan_lmm
from img2loc.config.registry import GALLERIES
from img2loc.core.errors import Img2LocError
from img2loc.core.hub import HubFiles
from img2loc.core.protocols import NeedsKey, files_needed
from img2loc.data import recipes
from img2loc.gallery.gallery import Gallery


@dataclass(frozen=True, slots=True)
class Need:
    """One thing that a locator needs: whether it is here, and what to do when it is not."""

    what: str
    ready: bool
    remedy: str = ""
    files: HubFiles | None = None
    size: str = ""
    license: str = ""
    gallery: str = ""
    """A gallery that can be built here from its recipe alone."""


def needs(config: Config, locator: str) -> list[Need]:
    """What [locator.NAME] needs as it is configured. Raises UnknownName."""
    plan = Plan(config, locator)
    plan.prompts  # noqa: B018 - raises for one that is not there
    found = [
        need
        for key in GALLERIES
        if key in plan.names
        for need in _gallery_needs(config, plan.names[key])
    ]
    found += [need for name in plan.encoders.values() for need in weights_needs(config, name)]
    if plan.lmm is not None:
        found.append(_lmm_need(plan.lmm))
    return list(dict.fromkeys(found))


def setup_needs(config: Config, name: str) -> list[Need]:
    """What `setup NAME` should gather: for a locator what gives world-wide answers, for an encoder or an LMM its weights.

    Raises UnknownName.
    """
    if config.has("encoder", name) and not config.has("locator", name):
        return weights_needs(config, name)
    if config.has("lmm", name):
        return [_lmm_need(plan_lmm(config, name))]
    plan = Plan(config, name)
    wanted = config.table("setup", name) if config.has("setup", name) else {}
    found: list[Need] = []
    if "encoder" in wanted:
        found += weights_needs(config, wanted["encoder"])
    if "gallery" in wanted:
        found.append(_built_gallery_need(config, wanted["gallery"]))
    if plan.lmm is not None:
        found.append(_lmm_need(plan.lmm))
    return found or needs(config, name)


def buildable(config: Config, name: str) -> list[recipes.Recipe]:
    """The recipes that `setup NAME` can build now: none while a download is missing."""
    needs = setup_needs(config, name)
    if any(need.files is not None and not need.ready for need in needs):
        return []
    return [galleries.recipe(config, need.gallery) for need in needs if need.gallery]


def weights_needs(config: Config, name: str) -> list[Need]:
    """The weights of [encoder.NAME]: one or more downloads, or what is here already."""
    found = [
        _files_need(config, "encoder", name, files)
        for files in galleries.weights_of(config, name, config.table("encoder", name))
    ]
    return found or [Need(f"encoder {name}: weights on this machine", True)]


def _gallery_needs(config: Config, name: str) -> list[Need]:
    try:
        facts = galleries.find_gallery(config, name)
        Gallery.open(facts.folder)  # Raises for a damaged one.
    except Img2LocError as error:
        if name in galleries.known_galleries(config) or not (recipe := _recipe(config, name)):
            return [Need(f"gallery {name}", False, str(error))]
        return [*weights_needs(config, recipe.encoder), _built_gallery_need(config, name)]
    here = Need(f"gallery {facts.name}: {facts.rows:,} rows", True)
    alias = facts.manifest["encoder"]["alias"]
    return [here, *weights_needs(config, alias)] if config.has("encoder", alias) else [here]


def _built_gallery_need(config: Config, name: str) -> Need:
    if name in galleries.known_galleries(config):
        return Need(f"gallery {name}", True)
    if not (recipe := _recipe(config, name)):
        return Need(f"gallery {name}", False, f"img2loc index build SOURCE --out {name}")
    what = f"gallery {name}: {recipe.description}"
    if recipe.is_whole:
        return Need(what, False, f"img2loc index build {name}", license=recipe.terms, gallery=name)
    remedy = f"{recipe.obtain} Then: {recipe.command}"
    return Need(what, False, remedy, license=recipe.terms)


def _recipe(config: Config, name: str) -> recipes.Recipe | None:
    by_table = config.has("gallery", name) and "recipe" in config.table("gallery", name)
    return galleries.recipe(config, name) if by_table or name in recipes.known() else None


def _lmm_need(lmm: PlannedLmm) -> Need:
    if isinstance(lmm.make, NeedsKey):
        remedy = lmm.make.lacks(**lmm.arguments)
        return Need(f"lmm {lmm.name}: a key or a server", not remedy, remedy)
    files = files_needed(lmm.make, lmm.arguments)
    return (
        Need(f"lmm {lmm.name}", True)
        if files is None
        else _files_need(lmm.config, "lmm", lmm.name, files)
    )


def _files_need(config: Config, role: str, name: str, files: HubFiles) -> Need:
    facts = config.table("download", files.repo) if config.has("download", files.repo) else {}
    size, license = str(facts.get("size", "")), str(facts.get("license", ""))
    return Need(
        f"{role} {name}: {files.repo}",
        files.cached() is not None,
        f"img2loc setup {name}",
        files,
        size,
        license,
    )
