"""A locator's name → its Plan: all its parts by name, before anything is opened or loaded.

A locator is a class, ours or anybody's, and its table [locator.NAME] holds the constructor's
arguments. A parameter with one of the names in `registry.PARTS` gets an object, and the table names
it:

| parameter | the table names | by default | the constructor gets |
|---|---|---|---|
| gallery, countries, cities | a gallery, or its folder | the largest searchable | `Gallery` |
| encoder | an [encoder.NAME] | the encoder that built the last of these galleries | `Encoder` |
| verifier | an [encoder.NAME] | its own default | `Verifier` |
| prompt | a prompt, or its file | nearest-farthest with a `gallery`, else zeroshot | `Template` |
| zeroshot_prompt | a prompt, or its file | zeroshot | `Template` |
| lmm | an [lmm.NAME] | gpt | `LMM` |
| lmms | several [lmm.NAME] | none | their names; `lmm` is then a `Panel` of them |

The factory, `bench`, `doctor`, `setup` and `--local-only` read it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from img2loc.config.config import Config, Table
from img2loc.config.galleries import GalleryFacts, find_gallery
from img2loc.config.registry import (
    GALLERIES,
    PARTS,
    defaults_of,
    parameters_of,
    resolve,
)
from img2loc.core.errors import ConfigError
from img2loc.core.protocols import HasEndpoint, IgnoresProxies, SeveralPhotos
from img2loc.lmm.privacy import is_loopback
from img2loc.lmm.prompts import Template


@dataclass(frozen=True, slots=True)
class PlannedLmm:
    """An LMM before it is loaded: its class and arguments, where it sends photographs, its price.

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

    @property
    def sends_several_photos(self) -> bool:
        """Whether photographs of neighbours go with the one in question."""
        return isinstance(self.make, SeveralPhotos) and self.make.several_photos

    def require_local(self) -> None:
        """Raise ConfigError unless it runs in this process or on a loopback address."""
        if self.endpoint is None:
            return
        if not is_loopback(self.endpoint):
            raise ConfigError(
                f"--local-only: the LMM {self.name!r} sends photos to {self.endpoint}. Choose"
                " another with --lmm, or --locator retrieval."
            )
        from urllib.request import getproxies

        proxies = sorted({"http", "https", "all"} & set(getproxies()))
        if proxies and not (isinstance(self.make, IgnoresProxies) and self.make.ignores_proxies):
            raise ConfigError(
                f"--local-only: the environment names a proxy ({', '.join(proxies)}),"
                f" through which the LMM {self.name!r} might send photos. Unset it for this"
                " command."
            )


class Plan:
    """What [locator.NAME] is made of, each part looked up when first asked for; nothing is opened.

    `table` is as configured, `arguments` are the constructor's, checked, and `settings` are these
    with the class's own defaults. `takes` are the constructor's parameters. `names` has the name of
    each part by its parameter. Raises ConfigError, and where a part is asked for that is not there,
    UnknownName, GalleryError or PromptError.
    """

    def __init__(self, config: Config, locator: str) -> None:
        self.config = config
        self.locator = locator
        self.table = config.table("locator", locator)
        self.make, self.arguments = resolve("locator", locator, self.table)
        self.settings: Table = {**defaults_of(self.make), **self.arguments}
        self.takes = parameters_of(self.make)
        default = PARTS if "gallery" in self.takes else {**PARTS, "prompt": "zeroshot"}
        chosen = {key: self.arguments.get(key, name) for key, name in default.items()}
        self.names: dict[str, str] = {
            key: name for key, name in chosen.items() if key in self.takes and name is not None
        }
        if several := self.settings.get("lmms"):
            self.names["lmm"] = "+".join(several)

    @property
    def shows(self) -> int:
        """How many photographs of neighbours go to the LMM with each photograph, at most."""
        show = self.settings.get("show")
        return show if isinstance(show, int) else 0

    @property
    def gallery_names(self) -> dict[str, str]:
        """The names of its galleries, by parameter."""
        return {key: self.names[key] for key in GALLERIES if key in self.names}

    @cached_property
    def galleries(self) -> dict[str, GalleryFacts]:
        """Its galleries, by parameter."""
        return {
            key: find_gallery(self.config, name, self.locator)
            for key, name in self.gallery_names.items()
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
    def lmms(self) -> tuple[PlannedLmm, ...]:
        """The LMMs that it asks."""
        alone = [self.names["lmm"]] if "lmm" in self.names else []
        names = self.settings.get("lmms") or alone
        return tuple(plan_lmm(self.config, name) for name in names)

    @property
    def lmm(self) -> PlannedLmm | None:
        """The LMM that it asks, or the first of several; None where it asks none."""
        return self.lmms[0] if self.lmms else None


def plan_lmm(config: Config, name: str) -> PlannedLmm:
    """What [lmm.NAME] is, with the price of its model. Raises ConfigError or UnknownName."""
    table = config.table("lmm", name)
    make, arguments = resolve("lmm", name, table)
    _require_own_key(config, name, arguments)
    model = str(arguments.get("model", ""))
    published = config.find("price", model) or config.find("price", model.partition(":")[2])
    price: Mapping[str, float] = arguments.get("price") or published  # LangChain: provider:model
    if price and "price" in parameters_of(make):
        arguments["price"] = price
    endpoint = make.endpoint(**arguments) if isinstance(make, HasEndpoint) else "an unknown address"
    return PlannedLmm(config, name, table, make, arguments, endpoint, price)


def _require_own_key(config: Config, name: str, table: Table) -> None:
    """Raise ConfigError where OpenAI's key would go to a server of another file's table."""
    of_openai = str(table.get("key_env", "")).upper().startswith("OPENAI_")
    if of_openai and "base_url" in table:
        server, key = (config.origin("lmm", name, entry) for entry in ("base_url", "key_env"))
        if server != key:
            raise ConfigError(
                f"[lmm.{name}]: key_env = {table['key_env']!r} is from {key}, and base_url from"
                f" {server}. A key of OpenAI's goes to another server only where one table sets"
                " both: set them side by side."
            )
