"""A locator's name → its Plan: all that it is made of, by name, before anything is opened or loaded.

A locator is a class, ours or anybody's, and its table [locator.NAME] holds the constructor's
arguments. A parameter with one of the names in `registry.PARTS` gets an object, and the table names
it:

| parameter | the table names | where it names none | the constructor gets |
|---|---|---|---|
| gallery, countries, cities | a gallery, or its folder | the largest that can be searched here | `Gallery` |
| encoder | an [encoder.NAME] | the encoder that built the last of these galleries | `Encoder` |
| verifier | an [encoder.NAME] | its own default | `Verifier` |
| prompt | a prompt, or its file | nearest-farthest with a `gallery`, else zeroshot | `Template` |
| zeroshot_prompt | a prompt, or its file | zeroshot | `Template` |
| lmm | an [lmm.NAME] | gpt | `LMM` |

Whoever needs to know what a locator is made of reads its Plan: the factory, `bench`, `doctor`,
`setup`, `--local-only`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.request import getproxies

from img2loc.config.config import Config, Table
from img2loc.config.galleries import GalleryFacts, find_gallery
from img2loc.config.registry import (
    GALLERIES,
    PARTS,
    arguments_of,
    class_of,
    defaults_of,
    parameters_of,
)
from img2loc.core.errors import ConfigError
from img2loc.core.protocols import HasEndpoint, IgnoresProxies
from img2loc.lmm.endpoint import is_loopback
from img2loc.lmm.prompts import Template


@dataclass(frozen=True, slots=True)
class PlannedLmm:
    """An LMM that is not made: its class and arguments, where it sends photographs, and its price.

    `endpoint` is an address, a provider, or None for one that runs in this process. `price` is in
    US dollars per million tokens, empty where it is not known.
    """

    config: Config
    name: str
    table: Table
    make: Callable[..., Any]
    arguments: Table
    endpoint: str | None
    price: Mapping[str, float]

    @property
    def settings(self) -> Table:
        """The arguments, with the class's own defaults."""
        return {**defaults_of(self.make), **self.arguments}

    @property
    def is_paid(self) -> bool:
        """Whether somebody may charge for it: it has a price, or it is not on this machine."""
        return self.endpoint is not None and (
            any(self.price.values()) or not is_loopback(self.endpoint)
        )

    def require_local(self) -> None:
        """Raise ConfigError unless it runs in this process or on a loopback address."""
        if self.endpoint is None:
            return
        if not is_loopback(self.endpoint):
            raise ConfigError(
                f"--local-only: the LMM {self.name!r} sends photos to {self.endpoint}. Choose"
                " another with --lmm, or --locator retrieval."
            )
        proxies = {
            scheme: proxy
            for scheme, proxy in getproxies().items()
            if scheme in ("http", "https", "all")
        }
        if proxies and not (isinstance(self.make, IgnoresProxies) and self.make.ignores_proxies):
            raise ConfigError(
                f"--local-only: the environment names a proxy ({', '.join(sorted(proxies))}),"
                f" through which the LMM {self.name!r} might send photos. Unset it for this"
                " command."
            )


class Plan:
    """What [locator.NAME] is made of, each part looked up when it is first asked for; nothing is opened or loaded.

    `table` is as configured, `arguments` are the constructor's, checked, and `settings` are these
    with the class's own defaults. `takes` are the constructor's parameters. `names` has the name of
    each part by its parameter. Raises ConfigError, and where a part is asked for that is not there,
    UnknownName, GalleryError or PromptError.
    """

    def __init__(self, config: Config, locator: str) -> None:
        self.config = config
        self.locator = locator
        self.table = config.table("locator", locator)
        self.make = class_of("locator", locator, self.table)
        self.arguments = arguments_of("locator", locator, self.table, self.make)
        self.settings: Table = {**defaults_of(self.make), **self.arguments}
        self.takes = parameters_of(self.make)
        usual = PARTS if "gallery" in self.takes else {**PARTS, "prompt": "zeroshot"}
        chosen = {
            key: self.arguments.get(key, name) for key, name in usual.items() if key in self.takes
        }
        self.names: dict[str, str] = {key: name for key, name in chosen.items() if name is not None}

    @cached_property
    def galleries(self) -> dict[str, GalleryFacts]:
        """Its galleries, by parameter."""
        return {
            key: find_gallery(self.config, self.names[key], self.locator)
            for key in GALLERIES
            if key in self.names
        }

    @property
    def gallery(self) -> GalleryFacts | None:
        """The gallery whose entries it answers with: the last, where it has several."""
        return next(reversed(self.galleries.values()), None)

    @cached_property
    def prompts(self) -> dict[str, Template]:
        """Its prompts, by parameter."""
        return {
            key: Template.load(self.names[key])
            for key in ("prompt", "zeroshot_prompt")
            if key in self.names
        }

    @property
    def encoders(self) -> dict[str, str]:
        """The names of the encoders that its table names, by parameter."""
        return {key: self.names[key] for key in ("encoder", "verifier") if key in self.names}

    @cached_property
    def lmm(self) -> PlannedLmm | None:
        """The LMM that it asks, if it asks one."""
        return plan_lmm(self.config, self.names["lmm"]) if "lmm" in self.names else None


def plan_lmm(config: Config, name: str) -> PlannedLmm:
    """What [lmm.NAME] is, with the price of its model. Raises ConfigError or UnknownName."""
    table = config.table("lmm", name)
    make = class_of("lmm", name, table)
    arguments = arguments_of("lmm", name, table, make)
    _require_own_key(config, name, arguments)
    model = str(arguments.get("model", ""))
    # "provider:model" is LangChain's way of writing it.
    priced = [
        config.table("price", key)
        for key in (model, model.partition(":")[2])
        if config.has("price", key)
    ]
    price: Mapping[str, float] = arguments.get("price") or next(iter(priced), {})
    if price and "price" in parameters_of(make):
        arguments["price"] = price
    endpoint = (
        make.endpoint(**arguments)
        if isinstance(make, HasEndpoint)
        else "a place that it does not tell"
    )
    return PlannedLmm(config, name, table, make, arguments, endpoint, price)


def _require_own_key(config: Config, name: str, table: Table) -> None:
    """Raise ConfigError where a key of OpenAI's would go to a server that another file's table names."""
    if {"base_url", "key_env"} <= set(table) and str(table["key_env"]).upper().startswith(
        "OPENAI_"
    ):
        server, key = (config.origin("lmm", name, name_of) for name_of in ("base_url", "key_env"))
        if server != key:
            raise ConfigError(
                f"[lmm.{name}]: key_env = {table['key_env']!r} is from {key}, and base_url from"
                f" {server}. A key of OpenAI's goes to another server only where one table sets"
                " both: set them side by side."
            )
