"""Truths, predictions at a known distance, outcomes and run folders, for tests of scores."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from geographiclib.geodesic import Geodesic

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.scores.outcomes import Outcomes, gather
from img2loc.core.types import Location

SPHERE = Geodesic(6371008.8, 0)
"""geographiclib on a sphere: its direct problem gives a point at a chosen great-circle distance."""


def truths(points: Sequence[tuple[float, float]], authors: Sequence[str] = ()) -> list[Truth]:
    written = authors or [""] * len(points)
    return [
        Truth(f"{row}.jpg", Location(*point), author, f"{row}.jpg")
        for row, (point, author) in enumerate(zip(points, written, strict=True))
    ]


def located(lat: float, lon: float, **more: Any) -> dict[str, Any]:
    return {"status": "located", "lat": lat, "lon": lon, **more}


def away(lat: float, lon: float, km: float, azimuth: float, **more: Any) -> dict[str, Any]:
    """A prediction at a great-circle distance from a point."""
    end = SPHERE.Direct(lat, lon, azimuth, km * 1000)
    return located(end["lat2"], end["lon2"], **more)


def outcomes(
    truth: list[Truth],
    predictions: Mapping[str, Mapping[str, Any]],
    name: str = "toy",
    **about: Any,
) -> Outcomes:
    return gather(name, truth, predictions, about)


def random_outcomes(n: int, seed: int = 0, name: str = "toy", photographers: int = 50) -> Outcomes:
    """Guesses at errors of every size, a tenth of them missing."""
    chance = np.random.default_rng(seed)
    points = [
        (float(lat), float(lon))
        for lat, lon in zip(chance.uniform(-60, 70, n), chance.uniform(-180, 180, n), strict=True)
    ]
    truth = truths(points, [f"p{row % photographers}" for row in range(n)])
    predictions = {
        row.id: away(
            row.location.lat,
            row.location.lon,
            float(km),
            90.0,
            radius_km=float(km * chance.uniform(0.5, 2)),
        )
        for row, km in zip(truth, 10 ** chance.uniform(-1, 4, n), strict=True)
        if chance.random() > 0.1
    }
    return outcomes(truth, predictions, name)


def write_run(
    folder: Path, truth: list[Truth], predictions: Mapping[str, Mapping[str, Any]], /, **about: Any
) -> Path:
    """A run folder as `bench run` leaves it."""
    folder.mkdir(parents=True)
    told = {
        "format": 1,
        "benchmark": "toy",
        "locator": "retrieval",
        "lmm": None,
        "n": len(truth),
        **about,
    }
    (folder / "run.json").write_text(json.dumps(told))
    with (folder / "truth.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "lat", "lon", "author"])
        writer.writerows([row.id, row.location.lat, row.location.lon, row.author] for row in truth)
    lines = [json.dumps({"id": name, **record}) + "\n" for name, record in predictions.items()]
    (folder / "predictions.jsonl").write_text("".join(lines))
    return folder
