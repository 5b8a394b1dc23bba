"""A Plan → its locator; names in a configuration → encoders and LMMs."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

from img2loc.config.config import Config, Table
from img2loc.config.galleries import (
    STARTER,
    best_gallery,
    encoder_tables,
    weights_facts,
    weights_of,
)
from img2loc.config.parts import CACHE_IRRELEVANT_KEYS, calibration
from img2loc.config.plan import Plan, PlannedLmm
from img2loc.config.registry import call, parameters_of, resolve
from img2loc.core.errors import ConfigError, MissingWeights, WrongEncoder
from img2loc.core.protocols import (
    LMM,
    Cacheable,
    Deferred,
    Encoder,
    LocationAlone,
    Locator,
    files_needed,
    names_of,
)
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Exclusions
from img2loc.lmm.cache import Cached
from img2loc.lmm.panel import Panel
from img2loc.lmm.repeated import Repeated
from img2loc.locators.calibration import DEFAULT_SHARE
from img2loc.locators.radius import Calibrated
from img2loc.locators.text_search import TextSearch

GEOCLIP = "gps-100k"
TEXTS = "geoclip"
"""The locator that answers to a text by default."""


def locator(
    plan: Plan,
    *,
    cache: Path | None = None,
    repeat: int = 0,
    max_radius_km: float | None = None,
    exclusions: Exclusions | None = None,
    make_encoder: Callable[[], Encoder] | None = None,
) -> Locator:
    """The locator of a plan with its galleries, encoders, prompts and LMM.

    `cache` is a file that keeps the LMM's replies; `repeat` numbers the repetitions of one run,
    which have replies of their own. Where a calibration applies, guesses have a radius; with
    `max_radius_km`, those of a larger one are "unsure". `exclusions` says which rows of the gallery
    a photograph must not see. `make_encoder` is called in place of loading the encoder. Raises
    ConfigError and its like.
    """
    known = calibration(plan)
    if known is None and max_radius_km is not None:
        remedy = "run it over photos whose place is known, then img2loc bench calibrate RUN"
        if plan.gallery is not None and not plan.lmms and plan.gallery.of == "photos":
            remedy = f"img2loc index calibrate {plan.gallery.folder} --locator {plan.locator}"
        raise ConfigError(
            f"A limit on the radius needs a calibrated radius, and the locator {plan.locator!r} has"
            f" none here. To calibrate it: {remedy}. Or leave --max-radius and max_radius_km out."
        )
    built = bare_locator(
        plan, cache=cache, repeat=repeat, exclusions=exclusions, make_encoder=make_encoder
    )
    if known is None:
        return built
    share = float(plan.config.ask.get("radius_share", DEFAULT_SHARE))
    return Calibrated(built, known, share, max_radius_km)


def bare_locator(
    plan: Plan,
    *,
    cache: Path | None = None,
    repeat: int = 0,
    exclusions: Exclusions | None = None,
    make_encoder: Callable[[], Encoder] | None = None,
) -> Locator:
    """The locator without its calibration; the arguments are those of `locator`."""
    opened = {key: Gallery.open(facts.folder) for key, facts in plan.galleries.items()}
    arguments = {**plan.arguments, **plan.prompts, **opened}
    if exclusions is not None:
        if "exclusions" not in plan.takes:
            raise ConfigError(
                f"The locator {plan.locator!r} takes no exclusions, so photos would see their own"
                " gallery rows. Give its class the parameter exclusions, for Retriever(encoder,"
                " gallery, exclusions), or run with --no-exclude."
            )
        arguments["exclusions"] = exclusions
    for one in plan.lmms:
        for key in ("show", "crops"):  # Photographs of neighbours; parts of the photograph.
            if plan.settings.get(key) and not one.sends_several_photos:
                raise ConfigError(
                    f"The LMM {one.name!r} takes one photo, and [locator.{plan.locator}] has {key}"
                    f" = {plan.settings[key]}. Set {key} = 0, or choose another LMM."
                )
    if plan.lmms:  # Before the encoder: a key is checked at once, a model loads slowly.
        models = [lmm(one, cache) for one in plan.lmms]
        model = models[0] if len(models) == 1 else Panel(models)
        arguments["lmm"] = Repeated(model, repeat) if repeat else model
    if "encoder" in plan.takes:
        if make_encoder is not None:
            arguments["encoder"] = make_encoder()
        elif "encoder" in plan.encoders:
            arguments["encoder"] = encoder(plan.config, plan.encoders["encoder"])
        elif plan.gallery is not None:
            try:
                arguments["encoder"] = encoder_of(plan.config, list(opened.values())[-1])
            except ConfigError as error:
                raise ConfigError(
                    f"{error} It is the encoder of the gallery {plan.gallery.name}; --gallery"
                    " chooses another."
                ) from error
    if "verifier" in plan.encoders:
        arguments["verifier"] = encoder(plan.config, plan.encoders["verifier"])
    return cast(Locator, call("locator", plan.locator, plan.make, arguments))


def text_search(plan: Plan) -> TextSearch:
    """What ranks the gallery of a plan by texts.

    Raises ConfigError for a locator that has none, and its like.
    """
    if "gallery" not in plan.takes:
        raise ConfigError(
            f"The locator {plan.locator!r} searches no gallery, so it has no answer to a text."
            " Choose geoclip."
        )
    gallery = Gallery.open(plan.galleries["gallery"].folder)
    named = plan.encoders.get("encoder")
    return TextSearch(
        encoder(plan.config, named) if named else encoder_of(plan.config, gallery), gallery
    )


def lmm(planned: PlannedLmm, cache: Path | None = None) -> LMM:
    """The LMM; its replies kept in `cache` where that is a file."""
    built = cast(LMM, _built(planned.config, "lmm", planned.name, planned.make, planned.arguments))
    if cache is None or (isinstance(planned.make, Cacheable) and not planned.make.cacheable):
        return built
    identity = {"kind": planned.table["kind"], "endpoint": planned.endpoint, **planned.settings}
    for key in CACHE_IRRELEVANT_KEYS:
        identity.pop(key, None)
    return Cached(built, identity, cache)


def encoder(
    config: Config, name: str, device: str | None = None, *, deferred: bool = False
) -> Encoder:
    """The encoder [encoder.name], on `device` in place of its table's.

    With `deferred`, one that needs its image tower for photographs and not for points loads it when
    the first photograph comes. Raises MissingWeights with their size and the command that gets
    them.
    """
    return _encoder(config, name, config.table("encoder", name), device, deferred=deferred)


def encoder_of(config: Config, gallery: Gallery) -> Encoder:
    """The encoder that built a gallery: the configured one of its name, else as the gallery has it.

    A gallery is anybody's data: it may name our own kinds of encoder only. Raises WrongEncoder
    where the configured one is of the same kind but differs, such as one with newer weights: the
    stamped one would silently give another model's answers.
    """
    stamp = gallery.manifest["encoder"]
    tables = encoder_tables(config, stamp)
    for number, (alias, table) in enumerate(tables, 1):
        try:
            built = _encoder(config, alias, table)
            gallery.require(*names_of(built))
            return built
        except MissingWeights:
            if number == len(tables):
                raise
        except WrongEncoder:
            if number == len(tables) or table.get("kind") == tables[-1][1].get("kind"):
                raise
    raise ConfigError(
        f"The gallery {gallery.folder} was built by the class {stamp['table'].get('kind')!r}. Put"
        f" it into your configuration as [encoder.{stamp.get('alias')}]."
    )


def default_locator(
    config: Config, gallery: str | None = None, lmm: str | None = None, k: int | None = None
) -> str:
    """The locator of a plain `ask` with these options, by the rule in docs/locators.md."""
    if (named := config.ask["locator"]) != "auto":
        return str(named)
    from img2loc.lmm.openai import OpenAIChat

    if lmm is None and OpenAIChat.lacks():
        return "geoclip" if gallery is None and best_gallery(config) == GEOCLIP else "retrieval"
    searches = gallery is not None or k is not None or best_gallery(config) != STARTER
    return "img2loc" if searches else "zeroshot"


def plan_for(
    config: Config,
    name: str | None = None,
    *,
    gallery: str | None = None,
    lmm: str | None = None,
    k: int | None = None,
) -> Plan:
    """The Plan of [locator.NAME], by default a plain `ask`'s, with these options over its table."""
    name = name or default_locator(config, gallery, lmm, k)
    override(config, name, gallery=gallery, lmm=lmm, k=k)
    return Plan(config, name)


def override(config: Config, name: str, **options: Any) -> None:
    """Merge command-line options over [locator.name]; `k` sets its numbers of neighbours.

    Raises ConfigError for an option that it does not take.
    """
    plan = Plan(config, name)
    values = {key: value for key, value in options.items() if value is not None}
    if (k := values.pop("k", None)) is not None:
        if not {"nearest", "farthest"} & plan.takes:
            raise ConfigError(
                f"The locator {name!r} searches no gallery, so -k does not apply to it."
            )
        if "nearest" in plan.takes:
            values["nearest"] = k
        if plan.settings.get("farthest"):
            values["farthest"] = k
    for key in values:
        if key not in plan.takes:
            raise ConfigError(
                f"The locator {name!r} takes no --{key}: leave it out, or choose another locator."
            )
    if "lmm" in values and "lmms" in plan.table:
        config.remove("locator", name, "lmms")
    if "gallery" in values and "encoder" in plan.table:
        config.remove("locator", name, "encoder")  # A gallery brings its own.
    config.override("locator", name, values, "command line")


def _encoder(
    config: Config,
    name: str,
    table: Mapping[str, Any],
    device: str | None = None,
    outermost: str | None = None,
    deferred: bool = False,
) -> Encoder:
    make, arguments = resolve("encoder", name, table)
    weights_of(config, name, table)  # Raises where an encoder names itself.
    inside = arguments.get("encoder")
    if device is not None and "device" in parameters_of(make):
        arguments["device"], device = device, None
    elif device is not None and inside is None:
        raise ConfigError(f"The encoder {name!r} takes no device. Leave --device out.")
    if inside is not None:
        its = config.table("encoder", inside)
        load = partial(_encoder, config, inside, its, device, outermost or name)
        apart = deferred and isinstance(make, LocationAlone)
        where = device or its.get("device", "auto")
        arguments["encoder"] = Deferred(load, where) if apart else load()
    return cast(Encoder, _built(config, "encoder", name, make, arguments, outermost))


def _built(
    config: Config, role: str, name: str, make: Any, arguments: Table, outermost: str | None = None
) -> Any:
    """The object. Raises MissingWeights with their size, license and the command that gets them."""
    try:
        return call(role, name, make, arguments)
    except MissingWeights as error:
        files = files_needed(make, arguments)
        if files is None:
            raise
        if files.cached():
            remedy = f"Get the files again: hf download {files.repo} --force-download."
            raise MissingWeights(f"{str(error).rstrip('.')}. {remedy}") from error
        raise MissingWeights(
            f"[{role}.{name}] needs the weights {files.repo} ({weights_facts(config, files)}),"
            " which are not on this machine, or only in part. Get them: img2loc setup"
            f" {outermost or name}. Or name a local copy there."
        ) from error
