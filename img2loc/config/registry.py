"""A table of the configuration and the class that its `kind` names → checked arguments, and the object."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from img2loc.config.config import Config, Table
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
"""Parameters that get an object whose name the table has, and the name where it has none: see config/plan.py."""
KINDS: dict[str, dict[str, str]] = {
    "encoder": {
        "geoclip": "img2loc.encoders.geoclip:GeoClip",
        "lite0": "img2loc.encoders.lite0:Lite0",
        "open_clip": "img2loc.encoders.open_clip:OpenClip",
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
        "ensemble": "img2loc.locators.ensemble:Ensemble",
        "hierarchy": "img2loc.locators.hierarchy:Hierarchy",
        "img2loc": "img2loc.locators.img2loc:Img2Loc",
        "retrieval": "img2loc.locators.retrieval:Retrieval",
        "zeroshot": "img2loc.locators.zeroshot:Zeroshot",
    },
    "train": {
        "geoclip": "img2loc.training.geoclip:GeoClipTraining",
        "streetclip": "img2loc.training.streetclip:StreetClipTraining",
    },
}

METHODS: dict[str, tuple[str, ...]] = {
    "encoder": ("encode", "encode_points", "encode_texts"),
    "lmm": ("ask",),
    "locator": ("locate",),
}
"""What a class of anybody's must have one of, before it is called. Trainings are ours alone."""

_PLAIN = {
    "gallery": {"path", "recipe", "encoder"},
    "setup": {"encoder", "gallery"},
    "price": {"input", "output"},
    "download": {"size", "license"},
}


def check(config: Config) -> None:
    """Raise ConfigError for a misspelt key or a wrong value in any of the user's tables, but for other people's kinds."""
    for role, name in config.user_tables():
        table = config.table(role, name)
        if role in _PLAIN:
            if unknown := sorted(set(table) - _PLAIN[role]):
                raise ConfigError(
                    f"[{role}.{name}] has no key {unknown[0]!r}. Known:"
                    f" {', '.join(sorted(_PLAIN[role]))}."
                )
            kinds = (int, float) if role == "price" else str
            for key, value in table.items():
                if not isinstance(value, kinds):
                    raise ConfigError(
                        f"[{role}.{name}] {key} = {value!r}: should be"
                        f" {'a number' if role == 'price' else 'text'}."
                    )
        elif ":" not in str(table.get("kind")):
            arguments_of(role, name, table, class_of(role, name, table))


def class_of(role: str, name: str, table: Mapping[str, Any]) -> Callable[..., Any]:
    """The class that a table's `kind` names: one of ours, or one that has the role's method. Calls nothing.

    Raises ConfigError, or MissingPackage.
    """
    kind, methods = table.get("kind"), METHODS.get(role)
    known = ", ".join(KINDS[role]) + (', or "package.module:Class"' if methods else "")
    if not isinstance(kind, str):
        raise ConfigError(f"[{role}.{name}] has no kind. Known: {known}.")
    path = KINDS[role].get(kind, kind)
    module, _, attribute = path.partition(":")
    if not attribute or not module or module.startswith(".") or (path == kind and not methods):
        raise ConfigError(f"[{role}.{name}] has the unknown kind {kind!r}. Known: {known}.")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"[{role}.{name}] needs the module {error.name}. Install the package that has it."
        ) from error
    except AttributeError as error:
        raise ConfigError(
            f"[{role}.{name}]: the module {module} has no {attribute}. Check the kind {kind!r}."
        ) from error
    if not isinstance(found, type) or (
        methods and not any(callable(getattr(found, method, None)) for method in methods)
    ):
        raise ConfigError(
            f"[{role}.{name}]: {kind!r} is no class with the method {' or '.join(methods or ())},"
            f" so it was not called. Name a class that is a backend for [{role}]."
        )
    return found


def arguments_of(role: str, name: str, table: Mapping[str, Any], make: Callable[..., Any]) -> Table:
    """The table's arguments, checked against the constructor's signature: the signature is the schema."""
    from pydantic import TypeAdapter, ValidationError

    parameters = inspect.signature(make).parameters
    arguments = {key: value for key, value in table.items() if key != "kind"}
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    initialiser = make.__init__ if inspect.isclass(make) else make
    try:
        hints = get_type_hints(initialiser)
    except (
        NameError
    ):  # Somebody's hints that exist for type checkers only; then the values are not checked.
        hints = {}
    for key, value in arguments.items():
        if key not in parameters and not takes_any:
            raise ConfigError(
                f"[{role}.{name}] has no key {key!r}. Known: kind, {', '.join(parameters)}."
            )
        hint = str if key in PARTS else hints.get(key, Any)
        try:
            TypeAdapter(hint).validate_python(value, strict=True)
        except ValidationError as error:
            raise ConfigError(
                f"[{role}.{name}] {key} = {value!r}: {error.errors()[0]['msg']}."
            ) from error
    return arguments


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


def call(role: str, name: str, make: Callable[..., Any], arguments: Table) -> Any:
    """The object.

    Raises ConfigError for a key that is lacking, MissingPackage for a package that is not
    installed.
    """
    parameters = inspect.signature(make).parameters.values()
    missing = [
        p.name
        for p in parameters
        if p.default is p.empty
        and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in arguments
    ]
    if missing:
        raise ConfigError(f"[{role}.{name}] lacks the key {missing[0]!r}.")
    try:
        return make(**arguments)
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"[{role}.{name}] needs the package {error.name}: pip install {error.name}"
        ) from error
