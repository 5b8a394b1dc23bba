"""A locator's name → what a run of it consists of: the names, tables, prompts and versions that `run.json` holds."""

import inspect
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from img2loc import build, galleries
from img2loc.config import Config, Table
from img2loc.gallery import Gallery
from img2loc.making import GALLERIES, class_of
from img2loc.prompts import Template

_PACKAGES = ("img2loc", "torch", "faiss-cpu", "open-clip-torch", "transformers", "timm", "pillow", "openai", "langchain")
_GALLERY_FACTS = ("rows", "dim", "spec", "source")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a locator is made of. `arguments` holds its table with the class's own defaults for what the table leaves out."""

    locator: str
    arguments: Table
    lmm: str | None
    endpoint: str | None
    price: Mapping[str, float] | None
    gallery_name: str | None
    gallery: Gallery | None
    prompts: dict[str, Template]

    def about(self, config: Config) -> dict[str, Any]:
        """Its part of run.json."""
        gallery = self.gallery
        tables: dict[str, Any] = {"locator": config.table("locator", self.locator)}
        if self.lmm is not None:
            tables["lmm"] = {**config.table("lmm", self.lmm), "endpoint": self.endpoint}
        if gallery is not None:
            tables["gallery"] = {**{fact: gallery.manifest.get(fact) for fact in _GALLERY_FACTS}, "of": gallery.of}
        for key in ("encoder", "verifier"):
            if isinstance(name := self.arguments.get(key), str) and config.has("encoder", name):
                tables[key] = config.table("encoder", name)
        if gallery is not None:
            tables.setdefault("encoder", dict(gallery.manifest["encoder"]["table"]))
        return {
            "locator": self.locator,
            "lmm": self.lmm,
            "gallery": self.gallery_name,
            "encoder": gallery.encoder_name if gallery else None,
            "gallery_rows": len(gallery) if gallery else 0,
            "config": tables,
            "prompts": {prompt.name: prompt.text for prompt in self.prompts.values()},
            "versions": versions(),
        }


def plan(config: Config, locator: str) -> Plan:
    """What [locator.NAME] is made of; opens its gallery and loads nothing. Raises ConfigError and its like."""
    table = config.table("locator", locator)
    parameters = inspect.signature(class_of("locator", locator, table)).parameters
    usual = {key: parameter.default for key, parameter in parameters.items() if parameter.default is not parameter.empty}
    arguments = {**usual, **table}
    lmm = str(arguments.get("lmm", "gpt")) if "lmm" in parameters else None
    name: str | None = None
    gallery: Gallery | None = None
    for key in GALLERIES:
        if key in parameters:
            name, gallery = galleries.open_gallery(config, arguments.get(key, "auto"), locator)
    usual_prompt = "nearest-farthest" if gallery is not None else "zeroshot"
    wanted = {"prompt": usual_prompt, "zeroshot_prompt": "zeroshot"}
    prompts = {key: Template.load(arguments.get(key, words)) for key, words in wanted.items() if key in parameters}
    endpoint = build.endpoint_of(config, lmm) if lmm else None
    return Plan(locator, arguments, lmm, endpoint, _price(config, lmm) if lmm else None, name, gallery, prompts)


def versions() -> dict[str, str]:
    """The versions of what decides a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _price(config: Config, lmm: str) -> Mapping[str, float] | None:
    """US dollars per million tokens of an LMM's model, where a table says them."""
    table = config.table("lmm", lmm)
    if isinstance(price := table.get("price"), Mapping):
        return price
    model = str(table.get("model", ""))
    for name in (model, model.partition(":")[2]):
        if config.has("price", name):
            return config.table("price", name)
    return None
