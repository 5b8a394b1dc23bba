"""Makes what a configuration names; the only module that knows every backend."""

import importlib
import inspect
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_type_hints

from img2loc import assets
from img2loc.config import Config, Table
from img2loc.errors import (
    ConfigError,
    GalleryError,
    Img2LocError,
    MissingPackage,
    MissingWeights,
    UnknownName,
)
from img2loc.gallery import Gallery
from img2loc.hub import HubFiles
from img2loc.manifest import MANIFEST, PLAN, read_manifest
from img2loc.prompts import Template
from img2loc.protocols import LMM, Encoder, Locator

STARTER = "starter"
KINDS: dict[str, dict[str, str]] = {
    "encoder": {
        "lite0": "img2loc.encoders.lite0:Lite0",
        "open_clip": "img2loc.encoders.open_clip:OpenClip",
        "timm": "img2loc.encoders.timm:Timm",
        "transformers": "img2loc.encoders.transformers:TransformersClip",
    },
    "lmm": {
        "openai": "img2loc.lmm.openai:OpenAIChat",
        "scripted": "img2loc.lmm.scripted:Scripted",
    },
    "locator": {
        "img2loc": "img2loc.locators.img2loc:Img2Loc",
        "retrieval": "img2loc.locators.retrieval:Retrieval",
        "zeroshot": "img2loc.locators.zeroshot:Zeroshot",
    },
}


@dataclass(frozen=True, slots=True)
class Built:
    """A locator, and the names of what it is made of."""

    locator: Locator
    name: str
    gallery: str | None = None
    encoder: str | None = None
    rows: int = 0


def locator(config: Config, name: str) -> Built:
    """The locator [locator.name] with its gallery, encoder, prompt and LMM. Raises ConfigError and its like."""
    table = config.table("locator", name)
    make = class_of("locator", name, table)
    parameters = inspect.signature(make).parameters
    arguments = _arguments("locator", name, table, make)
    gallery_name: str | None = None
    gallery: Gallery | None = None
    if "gallery" in parameters:
        gallery_name, gallery = open_gallery(config, arguments.get("gallery", "auto"))
        arguments["gallery"] = gallery
    if "prompt" in parameters:
        arguments["prompt"] = Template.load(arguments.get("prompt", "nearest-farthest"))
    if "lmm" in parameters:  # Before the encoder: a missing key is known at once, a model takes seconds to load.
        arguments["lmm"] = lmm(config, arguments.get("lmm", "gpt"))
    if "encoder" in parameters:
        if "encoder" in arguments:
            arguments["encoder"] = encoder(config, arguments["encoder"])
        elif gallery is not None:
            arguments["encoder"] = encoder_of(config, gallery)
    rows = len(gallery) if gallery is not None else 0
    encoder_name = gallery.encoder_name if gallery is not None else None
    return Built(_call("locator", name, make, arguments), name, gallery_name, encoder_name, rows)


def lmm(config: Config, name: str) -> LMM:
    """The LMM [lmm.name]."""
    table = config.table("lmm", name)
    make = class_of("lmm", name, table)
    return cast(LMM, _call("lmm", name, make, _arguments("lmm", name, table, make)))


def encoder(config: Config, name: str) -> Encoder:
    """The encoder [encoder.name]. Raises MissingWeights with their size and the command that gets them."""
    return _encoder(config, name, config.table("encoder", name))


def encoder_of(config: Config, gallery: Gallery) -> Encoder:
    """The encoder that built a gallery: by the name that it had then, where the configuration has it, else as it was then."""
    alias, table = gallery.manifest["encoder"]["alias"], gallery.manifest["encoder"]["table"]
    return encoder(config, alias) if config.has("encoder", alias) else _encoder(config, alias, table)


def weights_of(config: Config, name: str, table: Mapping[str, Any]) -> HubFiles | None:
    """What an encoder takes from a hub; None for one whose weights are local, or that does not say."""
    make = class_of("encoder", name, table)
    arguments = _arguments("encoder", name, table, make)
    needs = getattr(make, "needs", None)
    return needs(**arguments) if needs else None


def open_gallery(config: Config, name: str) -> tuple[str, Gallery]:
    """A gallery and its name, by name or folder; "auto" is the largest whose encoder can run here, else the starter gallery."""
    if name == "auto":
        name = best_gallery(config)
    return name, Gallery.open(gallery_folder(config, name))


def best_gallery(config: Config) -> str:
    """The name of the largest gallery of the user's whose encoder's weights are on this machine, else "starter"."""
    sizes: dict[str, int] = {}
    for name in known_galleries(config):
        try:
            manifest = read_manifest(gallery_folder(config, name))
            stamp = manifest["encoder"]
            table = config.table("encoder", stamp["alias"]) if config.has("encoder", stamp["alias"]) else stamp["table"]
            files = weights_of(config, stamp["alias"], table)
        except Img2LocError:
            continue
        if name != STARTER and (files is None or files.cached()):
            sizes[name] = manifest["rows"]
    return max(sizes, key=lambda name: sizes[name], default=STARTER)


def gallery_folder(config: Config, name: str) -> Path:
    """The folder of a gallery: [gallery.name] path, a folder of that name, one built by recipe, one that ships."""
    if config.has("gallery", name):
        path = config.table("gallery", name).get("path")
        if not isinstance(path, str):
            raise ConfigError(f'[gallery.{name}] needs path = "FOLDER". Known keys: path.')
        return Path(path).expanduser()
    for folder in (Path(name), assets.galleries() / name, assets.folder("index") / name):
        if (folder / MANIFEST).exists() or (folder / PLAN).exists():
            return folder
    if Path(name).exists() or "/" in name:
        return Path(name)
    try:
        raise UnknownName("gallery", name, known_galleries(config))
    except UnknownName as error:
        raise GalleryError(f"{error} Build it: img2loc index build SOURCE --out {name}") from error


def known_galleries(config: Config) -> list[str]:
    """Names of galleries: configured, built by recipe, and shipped."""
    places = (assets.galleries(), assets.folder("index"))
    built = {manifest.parent.name for place in places for manifest in place.glob(f"*/{MANIFEST}")}
    return sorted(built | set(config.names("gallery")))


def default_locator(config: Config) -> tuple[str, str]:
    """What a plain `ask` uses: the locator and the gallery, by the rule in the README."""
    gallery = best_gallery(config)
    if (named := config.ask["locator"]) != "auto":
        return named, gallery
    if not lmm_available():
        return "retrieval", gallery
    return ("zeroshot" if gallery == STARTER else "img2loc"), gallery


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
    config.override("locator", name, values, "command line")


def check(config: Config) -> None:
    """Raise ConfigError for a misspelt key or a wrong value in any of the user's tables of our own kinds."""
    for role, name in config.user_tables():
        table = config.table(role, name)
        if role in KINDS and ":" not in str(table.get("kind")):
            _arguments(role, name, table, class_of(role, name, table))


def _encoder(config: Config, name: str, table: Mapping[str, Any]) -> Encoder:
    make = class_of("encoder", name, table)
    try:
        return cast(Encoder, _call("encoder", name, make, _arguments("encoder", name, table, make)))
    except MissingWeights as error:
        files = weights_of(config, name, table)
        if files is None or files.cached():
            raise
        facts = config.table("download", files.repo) if config.has("download", files.repo) else {}
        size = ", ".join(str(facts[key]) for key in ("size", "licence") if key in facts) or "size unknown"
        raise MissingWeights(
            f"The encoder {name!r} needs the weights {files.repo} ({size}), which are not on this machine. "
            f"Get them: img2loc setup {name}. Or name a local copy in [encoder.{name}]."
        ) from error


def class_of(role: str, name: str, table: Mapping[str, Any]) -> Callable[..., Any]:
    """The class that a table's `kind` names. Raises ConfigError, or MissingPackage."""
    kind = table.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(f'[{role}.{name}] has no kind. Known: {", ".join(KINDS[role])}, or "package.module:Class".')
    path = KINDS[role].get(kind, kind)
    module, _, attribute = path.partition(":")
    if not attribute:
        raise ConfigError(
            f'[{role}.{name}] has the unknown kind {kind!r}. Known: {", ".join(KINDS[role])}, or "package.module:Class".'
        )
    try:
        return cast(Callable[..., Any], getattr(importlib.import_module(module), attribute))
    except ModuleNotFoundError as error:
        raise MissingPackage(f"[{role}.{name}] needs the module {error.name}. Install the package that has it.") from error
    except AttributeError as error:
        raise ConfigError(f"[{role}.{name}]: the module {module} has no {attribute}. Check the kind {kind!r}.") from error


def _arguments(role: str, name: str, table: Mapping[str, Any], make: Callable[..., Any]) -> Table:
    """The table's arguments, checked against the constructor's signature: the signature is the schema."""
    from pydantic import TypeAdapter, ValidationError

    parameters = inspect.signature(make).parameters
    arguments = {key: value for key, value in table.items() if key != "kind"}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    initialiser = make.__init__ if inspect.isclass(make) else make
    hints = get_type_hints(initialiser)
    for key, value in arguments.items():
        if key not in parameters and not takes_any:
            raise ConfigError(f"[{role}.{name}] has no key {key!r}. Known: kind, {', '.join(parameters)}.")
        hint = str if key in ("encoder", "gallery", "prompt", "lmm") else hints.get(key, Any)
        try:
            TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            raise ConfigError(f"[{role}.{name}] {key} = {value!r}: {error.errors()[0]['msg']}.") from error
    return arguments


def _call(role: str, name: str, make: Callable[..., Any], arguments: Table) -> Any:
    parameters = inspect.signature(make).parameters.values()
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in arguments
    ]
    if missing:
        raise ConfigError(f"[{role}.{name}] lacks the key {missing[0]!r}.")
    try:
        return make(**arguments)
    except ModuleNotFoundError as error:
        raise MissingPackage(f"[{role}.{name}] needs the package {error.name}: pip install {error.name}") from error
