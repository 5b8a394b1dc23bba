"""What a locator is made of, as run.json and a calibration say it."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.config.galleries import GalleryFacts
from img2loc.config.plan import Plan
from img2loc.config.registry import PARTS
from img2loc.core.errors import ConfigError
from img2loc.gallery.manifest import CALIBRATION
from img2loc.gallery.metadata import ROWS
from img2loc.locators.calibration import Calibration, Identity

CACHE_IRRELEVANT_KEYS = ("timeout", "retries", "concurrency", "price", "key_env", "batch_size")
"""Keys of an LMM on which no reply depends."""
_GALLERY_FACTS = ("rows", "dim", "spec", "source")
_SAME_GALLERY = ("rows", "dim", "spec", "of", "sha256")
_ELSEWHERE = (*PARTS, "lmms", "calibration", "repair", "photos")
"""Keys of a locator's table that say nothing more: its parts by name, which are told apart by what
they are; and what leaves every answer where it is: a repair turn only adds answers.
"""
_ADDRESSES = ("endpoint", "base_url")


def parts(plan: Plan) -> dict[str, Any]:
    """What a locator is made of: names, tables and prompts."""
    gallery = plan.gallery
    tables: dict[str, Any] = {"locator": plan.table}
    described = {lmm.name: {**lmm.table, "endpoint": lmm.endpoint} for lmm in plan.lmms}
    if len(described) == 1:
        (tables["lmm"],) = described.values()
    elif described:
        tables["lmms"] = described
    if gallery is not None:
        tables["gallery"] = _facts(gallery)
    if len(plan.galleries) > 1:
        tables["galleries"] = {
            key: {"name": one.name, **_facts(one)} for key, one in plan.galleries.items()
        }
    for key, name in plan.encoders.items():
        if plan.config.has("encoder", name):
            tables[key] = plan.config.table("encoder", name)
    if gallery is not None:
        tables.setdefault("encoder", dict(gallery.manifest["encoder"]["table"]))
    return {
        "locator": plan.locator,
        "lmm": plan.names.get("lmm"),
        "gallery": gallery.name if gallery else None,
        "encoder": gallery.encoder_name if gallery else None,
        "gallery_rows": gallery.rows if gallery else 0,
        "config": tables,
        "prompts": {prompt.name: prompt.source for prompt in plan.prompts.values()},
    }


def identity(about: Mapping[str, Any]) -> Identity:
    """What the answers of such parts depend on, as a calibration records it.

    Names, addresses and folders do not count. Raises KeyError or TypeError for what is no such
    record.
    """
    tables = about["config"]
    galleries = tables.get("galleries") or {"gallery": tables.get("gallery")}
    locator = {key: one for key, one in tables["locator"].items() if key not in _ELSEWHERE}
    alone = tables.get("lmm")
    lmms = tables.get("lmms") or ({"": alone} if alone else {})
    irrelevant = (*CACHE_IRRELEVANT_KEYS, *_ADDRESSES)
    lmm = [
        {key: one for key, one in table.items() if key not in irrelevant}
        for table in lmms.values()  # In their order: the first answers.
    ]
    return {
        "locator": locator,
        "gallery": {
            key: {fact: one.get(fact) for fact in _SAME_GALLERY}
            for key, one in galleries.items()
            if one is not None
        },
        "encoder": about["encoder"],
        "verifier": tables.get("verifier"),
        "lmm": lmm,
        "prompts": {
            name: hashlib.sha256(source.encode()).hexdigest()[:16]
            for name, source in about["prompts"].items()
        },
    }


def calibration(plan: Plan) -> Calibration | None:
    """The calibration that [locator.NAME] names, else its gallery's own; None where it has none.

    A gallery's own is of one locator, and others pass it over. Raises ConfigError for one of other
    parts than the plan's.
    """
    if (named := plan.table.get("calibration")) is not None:
        file = Path(named).expanduser()
        found = Calibration.load(file)
        found.require(identity(parts(plan)), f"The calibration {file}")
        return found
    if plan.gallery is None or not (file := plan.gallery.folder / CALIBRATION).exists():
        return None
    found, of = Calibration.load(file), identity(parts(plan))
    if all(found.of.get(key) == of[key] for key in ("gallery", "encoder")):
        return found if dict(found.of) == dict(of) else None
    raise ConfigError(
        f"{file} is of another gallery or encoder: {found.measured_on}. Make it again: img2loc"
        f" index calibrate {plan.gallery.folder}. Or delete it."
    )


def _facts(gallery: GalleryFacts) -> dict[str, Any]:
    facts = {fact: gallery.manifest.get(fact) for fact in _GALLERY_FACTS}
    sums = gallery.manifest.get("files") or {}  # Of its rows: earlier versions had none.
    return {**facts, "of": gallery.of, "sha256": sums.get(ROWS)}
