"""Which paper a run reproduces, and what in it differs from the tables that ship for that."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from img2loc.config import galleries
from img2loc.config.config import Config
from img2loc.config.plan import Plan

Deviations = dict[str, dict[str, Any]]
"""By dotted name: what the reproduction has, and what this run has."""


def reproduction(plan: Plan, options: Mapping[str, tuple[Any, Any]]) -> dict[str, Any]:
    """The paper and the deviations from [locator.NAME] as it ships; empty for other locators.

    `options` are the benchmark's own, by name: as the reproduction has each, and as this run has
    it. docs/reproduction.md says in what the tables themselves differ from the paper.
    """
    shipped = Config.shipped()
    if not shipped.has("reproduction", plan.locator):
        return {}
    of = shipped.table("reproduction", plan.locator)
    deviations: Deviations = {}
    for name, pair in [*_pairs(shipped, plan, of.get("gallery")), *options.items()]:
        if pair[0] != pair[1]:
            deviations[name] = dict(zip(("reproduction", "run"), pair, strict=True))
    return {"name": plan.locator, "paper": of["paper"], "deviations": deviations}


def _pairs(
    shipped: Config, plan: Plan, gallery: str | None
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Everything that can differ, by dotted name: as it ships, and as it is in this run."""
    table = shipped.table("locator", plan.locator)
    for key, pair in _keys(table, plan.table):
        if key != "gallery":  # "auto" ships, since nobody can be asked to have the paper's gallery.
            yield f"locator.{key}", pair
    for lmm in plan.lmms:
        if lmm.name == table.get("lmm"):
            yield from _parts(shipped, plan.config, "lmm", lmm.name)
    for key, name in plan.encoders.items():
        if name == table.get(key):
            yield from _parts(shipped, plan.config, "encoder", name)
    if gallery is None or plan.gallery is None:
        return
    yield "gallery", (gallery, Path(plan.gallery.name).name)
    if "encoder" not in table:
        encoder = galleries.recipe(shipped, gallery).encoder
        stamp = plan.gallery.manifest["encoder"]
        yield "gallery.encoder", (encoder, stamp.get("alias"))
        if stamp.get("alias") == encoder:
            yield from _parts(shipped, plan.config, "encoder", encoder)


def _parts(
    shipped: Config, config: Config, role: str, name: str
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """The keys of [role.name], and those of the encoder inside it."""
    before, now = shipped.table(role, name), config.find(role, name)
    for key, pair in _keys(before, now):
        yield f"{role}.{name}.{key}", pair
    inside = before.get("encoder")
    if inside is not None and now.get("encoder") == inside:
        yield from _parts(shipped, config, role, inside)


def _keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for key in dict.fromkeys([*before, *now]):
        yield key, (before.get(key), now.get(key))
