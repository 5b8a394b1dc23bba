"""Makes what a configuration names; the only module that knows every backend."""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.request import getproxies

from img2loc.config import Config, Table
from img2loc.errors import (
    ConfigError,
    MissingWeights,
    WrongEncoder,
)
from img2loc.galleries import STARTER, best_gallery, encoder_tables, open_gallery, weights_facts, weights_of
from img2loc.gallery import Exclusions, Gallery
from img2loc.hub import HubFiles
from img2loc.lmm.cache import Cached
from img2loc.lmm.endpoint import is_loopback
from img2loc.locators.cautious import Cautious
from img2loc.locators.textual import TextSearch
from img2loc.making import GALLERIES, arguments_of, call, class_of
from img2loc.prompts import Template
from img2loc.protocols import LMM, Encoder, Locator

GEOCLIP = "gps-100k"
TEXTS = "geoclip"
"""The locator that answers to a text where none is named."""
NOT_IN_A_REPLY = ("timeout", "retries", "concurrency", "price", "key_env", "batch_size")
"""Keys of an LMM on which no reply depends."""


@dataclass(frozen=True, slots=True)
class Built:
    """A locator, and the names of what it is made of."""

    locator: Locator
    name: str
    gallery: str | None = None
    encoder: str | None = None
    rows: int = 0
    of: str = "photos"


def locator(
    config: Config,
    name: str,
    *,
    cache: Path | None = None,
    max_radius_km: float | None = None,
    local_only: bool = False,
    exclusions: Exclusions | None = None,
    encoder_made: Encoder | None = None,
) -> Built:
    """The locator [locator.name] with its gallery, encoder, prompts and LMM. Raises ConfigError and its like.

    `cache` is a file that keeps the LMM's replies. With `max_radius_km`, vaguer guesses are "unsure". With `local_only`, an LMM
    that is neither in this process nor on a loopback address is refused before anything is made. `exclusions` says which rows of
    the gallery a photograph must not see. `encoder_made` serves in place of the encoder that would be loaded.
    """
    table = config.table("locator", name)
    make = class_of("locator", name, table)
    parameters = inspect.signature(make).parameters
    arguments = arguments_of("locator", name, table, make)
    if "lmm" in parameters and local_only:
        require_local(config, arguments.get("lmm", "gpt"))
    gallery_name: str | None = None
    gallery: Gallery | None = None
    for key in GALLERIES:
        if key in parameters:
            gallery_name, gallery = open_gallery(config, arguments.get(key, "auto"), name)
            if gallery.of == "photos":  # The numbers of points are nobody's photographs.
                gallery.exclusions = exclusions
            arguments[key] = gallery
    usual_prompt = "nearest-farthest" if "gallery" in parameters else "zeroshot"
    for key, usual in (("prompt", usual_prompt), ("zeroshot_prompt", "zeroshot")):
        if key in parameters:
            arguments[key] = Template.load(arguments.get(key, usual))
    if "lmm" in parameters:  # Before the encoder: a missing key is known at once, a model takes seconds to load.
        arguments["lmm"] = lmm(config, arguments.get("lmm", "gpt"), cache)
    if "encoder" in parameters:
        if encoder_made is not None:
            arguments["encoder"] = encoder_made
        elif "encoder" in arguments:
            arguments["encoder"] = encoder(config, arguments["encoder"])
        elif gallery is not None:
            try:
                arguments["encoder"] = encoder_of(config, gallery)
            except ConfigError as error:
                raise ConfigError(
                    f"{error} It is the encoder of the gallery {gallery_name}; --gallery chooses another."
                ) from error
    if "verifier" in arguments:
        arguments["verifier"] = encoder(config, arguments["verifier"])
    rows = len(gallery) if gallery is not None else 0
    encoder_name = gallery.encoder_name if gallery is not None else None
    made = cast(Locator, call("locator", name, make, arguments))
    of = gallery.of if gallery is not None else "photos"
    return Built(made if max_radius_km is None else Cautious(made, max_radius_km), name, gallery_name, encoder_name, rows, of)


def text_search(config: Config, name: str) -> tuple[TextSearch, Built]:
    """What ranks the gallery of [locator.name] by texts. Raises ConfigError for a locator that has none, and its like."""
    table = config.table("locator", name)
    if "gallery" not in inspect.signature(class_of("locator", name, table)).parameters:
        raise ConfigError(f"The locator {name!r} searches no gallery, so it has no answer to a text. Choose geoclip.")
    gallery_name, gallery = open_gallery(config, table.get("gallery", "auto"))
    made = encoder(config, table["encoder"]) if "encoder" in table else encoder_of(config, gallery)
    search = TextSearch(made, gallery)
    return search, Built(cast(Locator, search), name, gallery_name, gallery.encoder_name, len(gallery), gallery.of)


def lmm(config: Config, name: str, cache: Path | None = None) -> LMM:
    """The LMM [lmm.name], with the price of its model; its replies kept in `cache` where that is a file."""
    table = config.table("lmm", name)
    make = class_of("lmm", name, table)
    arguments = arguments_of("lmm", name, table, make)
    _require_own_key(config, name, arguments)
    parameters = inspect.signature(make).parameters
    model = str(arguments.get("model", ""))
    for priced in (model, model.partition(":")[2]):  # "provider:model" is LangChain's way of writing it.
        if "price" in parameters and config.has("price", priced):
            arguments.setdefault("price", config.table("price", priced))
    made = cast(LMM, _made(config, "lmm", name, arguments, make))
    if cache is None or table["kind"] in ("replay", "scripted"):
        return made
    usual = {key: parameter.default for key, parameter in parameters.items() if parameter.default is not parameter.empty}
    dependent = {key: value for key, value in {**usual, **arguments}.items() if key not in NOT_IN_A_REPLY}
    return Cached(made, {"kind": table["kind"], "endpoint": endpoint_of(config, name), **dependent}, cache)


def _require_own_key(config: Config, name: str, table: Table) -> None:
    """Raise ConfigError where a key of OpenAI's would go to a server that another file's table names."""
    if {"base_url", "key_env"} <= set(table) and str(table["key_env"]).upper().startswith("OPENAI_"):
        server, key = (config.origin("lmm", name, name_of) for name_of in ("base_url", "key_env"))
        if server != key:
            raise ConfigError(
                f"[lmm.{name}]: key_env = {table['key_env']!r} is from {key}, and base_url from {server}. A key of OpenAI's goes "
                "to another server only where one table sets both: set them side by side."
            )


def endpoint_of(config: Config, name: str) -> str | None:
    """Where [lmm.name] sends photographs: an address, a provider, or None for one that runs in this process."""
    table = config.table("lmm", name)
    make = class_of("lmm", name, table)
    endpoint = getattr(make, "endpoint", None)
    address = endpoint(**arguments_of("lmm", name, table, make)) if endpoint else "a place that it does not tell"
    return None if address is None else str(address)


def require_local(config: Config, name: str) -> None:
    """Raise ConfigError unless [lmm.name] runs in this process or on a loopback address."""
    address = endpoint_of(config, name)
    if address is None:
        return
    if not is_loopback(address):
        raise ConfigError(
            f"--local-only: the LMM {name!r} sends photos to {address}. Choose another with --lmm, or --locator retrieval."
        )
    # Our own client goes past proxies on the loopback; other people's may not.
    proxies = {scheme: proxy for scheme, proxy in getproxies().items() if scheme in ("http", "https", "all")}
    if proxies and config.table("lmm", name).get("kind") != "openai":
        raise ConfigError(
            f"--local-only: the environment names a proxy ({', '.join(sorted(proxies))}), through which the LMM {name!r} might "
            "send photos. Unset it for this command."
        )


def encoder(config: Config, name: str) -> Encoder:
    """The encoder [encoder.name]. Raises MissingWeights with their size and the command that gets them."""
    return _encoder(config, name, config.table("encoder", name))


def encoder_of(config: Config, gallery: Gallery) -> Encoder:
    """The encoder that built a gallery: as it is configured under its name; where that is not here, as the gallery remembers it.

    A gallery is data of anybody's: it may name our own kinds of encoder only. Raises WrongEncoder where the configured one is of
    the same kind and yet another, such as one with newer weights: the old one would in silence give another model's answers.
    """
    tables = encoder_tables(config, gallery.manifest["encoder"])
    for number, (alias, table) in enumerate(tables, 1):
        try:
            made = _encoder(config, alias, table)
            gallery.require(made.name)
            return made
        except MissingWeights:
            if number == len(tables):
                raise
        except WrongEncoder:
            if number == len(tables) or table.get("kind") == tables[-1][1].get("kind"):
                raise
    alias, kind = gallery.manifest["encoder"].get("alias"), gallery.manifest["encoder"]["table"].get("kind")
    raise ConfigError(
        f"The gallery {gallery.folder} was built by the class {kind!r}. Put it into your configuration as [encoder.{alias}]."
    )


def default_locator(config: Config, gallery: str | None = None, lmm: str | None = None, k: int | None = None) -> str:
    """The locator of a plain `ask`, by the rule in the README; what is named (gallery, LMM, number of neighbours) counts."""
    if (named := config.ask["locator"]) != "auto":
        return str(named)
    if lmm is None and not lmm_available():
        return "geoclip" if gallery is None and best_gallery(config) == GEOCLIP else "retrieval"
    searches = gallery is not None or k is not None or best_gallery(config) != STARTER
    return "img2loc" if searches else "zeroshot"


def lmm_available() -> bool:
    """Whether the environment names a key or a server for an LMM."""
    return bool(os.environ.get("OPENAI_API_KEY") or os.environ.get("OPENAI_BASE_URL"))


def override(config: Config, name: str, **options: Any) -> None:
    """Lay command-line options over [locator.name]; `k` sets both ends. Raises ConfigError for what it does not take."""
    table = config.table("locator", name)
    known = inspect.signature(class_of("locator", name, table)).parameters
    values = {key: value for key, value in options.items() if value is not None}
    if (k := values.pop("k", None)) is not None:
        ends = [end for end in ("nearest", "farthest") if end in known]
        if not ends:
            raise ConfigError(f"The locator {name!r} searches no gallery, so -k does not apply to it.")
        values.update({end: k for end in ends if end == "nearest" or table.get(end, known[end].default)})
    for key in values:
        if key not in known:
            raise ConfigError(f"The locator {name!r} takes no {key}: leave --{key} out, or choose another locator.")
    if "gallery" in values and "encoder" in table:
        config.remove("locator", name, "encoder")  # A gallery brings its own.
    config.override("locator", name, values, "command line")


def _encoder(config: Config, name: str, table: Mapping[str, Any], outermost: str | None = None) -> Encoder:
    make = class_of("encoder", name, table)
    arguments = arguments_of("encoder", name, table, make)
    weights_of(config, name, table)  # Says so where an encoder names itself.
    if "encoder" in arguments:
        inside = arguments["encoder"]
        arguments["encoder"] = _encoder(config, inside, config.table("encoder", inside), outermost or name)
    return cast(Encoder, _made(config, "encoder", name, arguments, make, outermost))


def _made(config: Config, role: str, name: str, arguments: Table, make: Any, outermost: str | None = None) -> Any:
    """The object; weights that are not here are named with their size, their licence and the command that gets them."""
    try:
        return call(role, name, make, arguments)
    except MissingWeights as error:
        needs = getattr(make, "needs", None)
        files: HubFiles | None = needs(**arguments) if needs else None
        if files is None:
            raise
        if files.cached():
            remedy = f"Get the files again: hf download {files.repo} --force-download."
            raise MissingWeights(f"{str(error).rstrip('.')}. {remedy}") from error
        raise MissingWeights(
            f"[{role}.{name}] needs the weights {files.repo} ({weights_facts(config, files)}), which are not on this machine, "
            f"or only in part. Get them: img2loc setup {outermost or name}. Or name a local copy there."
        ) from error
