"""A run's lines → how often its answer is no more than a neighbour's coordinates."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from img2loc.bench.runs.run_folder import Run
from img2loc.core.geo import distances_km

COPY_KM = 0.02
"""Prompts give four decimals: what is copied is rounded by up to 8 m."""

Copies = dict[str, Any]
_LISTS = ("nearest", "farthest")


def copies(runs: Sequence[Run], without: Run | None = None) -> Copies | None:
    """Per cent of an LMM's answers that lie within 20 m of a neighbour that the prompt showed.

    `n` is the number of answers beside neighbours; `first`, `nearest` and `farthest` are those that
    copy the nearest neighbour, any of the nearest, any of the farthest. `by_chance` is how many of
    the answers of `without`, a run that showed none, lie as close to these neighbours: in a dense
    gallery a right answer does so too. None where no answer had neighbours.
    """
    found = [
        _copied(line, line)
        for run in runs
        for line in run.predictions.values()
        if _located(line) and line["prompts"] and any(line[key] for key in _LISTS)
    ]
    if not found:
        return None
    blind = [
        any(_copied(line, without.predictions[name]).values())
        for run in runs
        for name, line in run.predictions.items()
        if without is not None and _located(without.predictions.get(name, {}))
    ]
    shares = {key: 100 * float(np.mean([one[key] for one in found])) for key in found[0]}
    return {
        "n": len(found),
        **shares,
        "by_chance": 100 * float(np.mean(blind)) if blind else None,
    }


def _located(line: Mapping[str, Any]) -> bool:
    return line.get("lat") is not None


def _copied(shown: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, bool]:
    """Whether an answer is the first, any of the nearest, any of the farthest neighbours shown."""
    at = np.array([answer["lat"], answer["lon"]], dtype=np.float64)
    near, far = (
        distances_km(
            at, np.array([(one["lat"], one["lon"]) for one in shown[key]], float).reshape(-1, 2)
        )
        <= COPY_KM
        for key in _LISTS
    )
    return {"first": bool(near[:1].any()), "nearest": bool(near.any()), "farthest": bool(far.any())}
