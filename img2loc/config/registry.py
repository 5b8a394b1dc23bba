"""A table → the class that its `kind` names, its arguments checked, and the object."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from img2loc.config.config import Config, Table
from img2loc.core import extras
from img2loc.core.errors import ConfigError, MissingPackage

GALLERIES = ("gallery", "countries", "cities")
PARTS: dict[str, str | None] = {
    **dict.fromkeys(GALLERIES, "auto"),
    "prompt": "nearest-farthest",
    "zeroshot_prompt": "zeroshot",
    "lmm": "gpt",
    "encoder": None,
    "verifier": None,
}
"""Parameters that get an object, and its name where the table has none: see config/plan.py."""
KINDS: dict[str, dict[str, str]] = {
    "encoder": {
        "geoclip": "img2loc.encoders.geoclip:GeoClip",
        "lite0": "img2loc.encoders.lite0:Lite0",
        "onnx": "img2loc.encoders.onnx:OnnxEncoder",
        "open_clip": "img2loc.encoders.open_clip:OpenClip",
        "raw_product": "img2loc.encoders.raw_product:RawProduct",
        "timm": "img2loc.encoders.timm:Timm",
        "transformers": "img2loc.encoders.transformers:TransformersClip",
    },
    "lmm": {
        "langchain": "img2loc.lmm.langchain:LangChain",
        "llava": "img2loc.lmm.llava:Llava",
        "openai": "img2loc.lmm.openai:OpenAIChat",
        "replay": "img2loc.lmm.replay:Replay",
        "scripted": "img2loc.lmm.scripted:Scripted",
    },
    "locator": {
        "agent": "img2loc.locators.agent.agent:Agent",
        "ensemble": "img2loc.locators.ensemble:Ensemble",
        "hierarchy": "img2loc.locators.hierarchy:Hierarchy",
        "img2loc": "img2loc.locators.img2loc:Img2Loc",
        "retrieval": "img2loc.locators.retrieval:Retrieval",
        "zeroshot": "img2loc.locators.zeroshot:Zeroshot",
    },
    "train": {
        "geoclip": "img2loc.training.geoclip_settings:GeoClipTraining",
        "streetclip": "img2loc.training.streetclip:StreetClipTraining",
    },
}

PACKAGES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("geoclip", "raw_product", "streetclip"), ("torch",)),
    "open_clip": ("torch", "open_clip"),
    "timm": ("torch", "timm"),
    **dict.fromkeys(("transformers", "llava"), ("torch", "transformers")),
    "langchain": ("langchain",),
}
"""What our kinds import that the base installation does not have."""

METHODS: dict[str, tuple[str, ...]] = {
    "encoder": ("encode", "encode_points", "encode_texts"),
    "lmm": ("ask",),
    "locator": ("locate",),
}
"""A third party's class must have one of them before it is called. Trainings are ours alone."""

_PLAIN = {
    "gallery": {"path", "recipe", "encoder"},
    "reproduction": {"paper", "gallery"},
    "setup": {"encoder", "gallery"},
    "price": {"input", "output"},
    "download": {"size", "license"},
}


def check(config: Config) -> None:
    """Raise ConfigError for a misspelt key or a wrong value in the user's tables of our kinds."""
    for role, name in config.user_tables():
        table = config.table(role, name)
        if role in _PLAIN:
            types, expected = ((int, float), "a number") if role == "price" else (str, "text")
            for key, value in table.items():
                if key not in _PLAIN[role]:
                    known = ", ".join(sorted(_PLAIN[role]))
                    raise ConfigError(f"[{role}.{name}] has no key {key!r}. Known: {known}.")
                if not isinstance(value, types):
                    raise ConfigError(f"[{role}.{name}] {key} = {value!r}: should be {expected}.")
        elif ":" not in str(table.get("kind")):
            with suppress(MissingPackage):  # It may not be what is asked for now.
                resolve(role, name, table)


def resolve(role: str, name: str, table: Mapping[str, Any]) -> tuple[Callable[..., Any], Table]:
    """The class of a table and its checked arguments. Raises ConfigError, or MissingPackage."""
    make = class_of(role, name, table)
    return make, arguments_of(role, name, table, make)


def class_of(role: str, name: str, table: Mapping[str, Any]) -> Callable[..., Any]:
    """The class that a table's `kind` names: one of ours, or one that has the role's method.

    Nothing is called. Raises ConfigError, or MissingPackage.
    """
    kind, methods = table.get("kind"), METHODS.get(role)
    known = ", ".join(KINDS[role]) + (', or "package.module:Class"' if methods else "")
    if not isinstance(kind, str):
        raise ConfigError(f"[{role}.{name}] has no kind. Known: {known}.")
    extras.require(f"[{role}.{name}]", *PACKAGES.get(kind, ()))
    path = KINDS[role].get(kind, kind)
    module, _, attribute = path.partition(":")
    if not attribute or not module or module.startswith(".") or (path == kind and not methods):
        raise ConfigError(f"[{role}.{name}] has the unknown kind {kind!r}. Known: {known}.")
    try:
        named = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise extras.missing(f"[{role}.{name}]", error.name or module) from error
    except AttributeError as error:
        raise ConfigError(
            f"[{role}.{name}]: the module {module} has no {attribute}. Check the kind {kind!r}."
        ) from error
    if not isinstance(named, type) or (
        methods and not any(callable(getattr(named, method, None)) for method in methods)
    ):
        raise ConfigError(
            f"[{role}.{name}]: {kind!r} is no class with the method {' or '.join(methods or ())},"
            f" so it was not called. Name a class that is a backend for [{role}]."
        )
    return named


def arguments_of(role: str, name: str, table: Mapping[str, Any], make: Callable[..., Any]) -> Table:
    """A table's arguments, checked against the constructor's signature, which is the schema."""
    parameters = inspect.signature(make).parameters
    arguments = {key: value for key, value in table.items() if key != "kind"}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    hints: dict[str, Any] = {}
    with suppress(NameError):  # A third party's hints may exist for type checkers only.
        hints = get_type_hints(make.__init__ if inspect.isclass(make) else make)
    if role == "locator" and not isinstance(arguments.pop("calibration", ""), str):
        raise ConfigError(f"[{role}.{name}] calibration is no text. Name a file.")
    for key, value in arguments.items():
        if key not in parameters and not takes_any:
            raise ConfigError(
                f"[{role}.{name}] has no key {key!r}. Known: kind, {', '.join(parameters)}."
            )
        hint = str if key in PARTS else hints.get(key, Any)
        if not _fits(hint, value):
            _validate(f"[{role}.{name}] {key} = {value!r}", hint, value)
    return arguments


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is a hint's plain type or one of its choices: then pydantic is not loaded."""
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    return type(value) in (get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,))


def _validate(where: str, hint: Any, value: Any) -> None:
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise ConfigError(f"{where}: {error.errors()[0]['msg']}.") from error


def parameters_of(make: Callable[..., Any]) -> frozenset[str]:
    """The names of a class's parameters."""
    return frozenset(inspect.signature(make).parameters)


def defaults_of(make: Callable[..., Any]) -> Table:
    """A class's own defaults."""
    return {
        key: value.default
        for key, value in inspect.signature(make).parameters.items()
        if value.default is not value.empty
    }


def require_all(role: str, name: str, make: Callable[..., Any], arguments: Table) -> None:
    """Raise ConfigError where an argument that has no default is missing."""
    for parameter in inspect.signature(make).parameters.values():
        required = parameter.default is parameter.empty and parameter.kind in (
            parameter.POSITIONAL_OR_KEYWORD,
            parameter.KEYWORD_ONLY,
        )
        if required and parameter.name not in arguments:
            raise ConfigError(f"[{role}.{name}] lacks the key {parameter.name!r}.")


def call(role: str, name: str, make: Callable[..., Any], arguments: Table) -> Any:
    """The object. Raises ConfigError for a missing key, MissingPackage for a missing package."""
    require_all(role, name, make, arguments)
    try:
        return make(**arguments)
    except ModuleNotFoundError as error:
        raise extras.missing(f"[{role}.{name}]", error.name or "a package") from error
