"""Lines on a flat map of the world: great circles, cut at the antimeridian, and the coasts."""

import json
from functools import cache
from importlib.resources import files

import numpy as np

from img2loc.core.geo import Array, unit_vectors

_STEPS = 48


def great_circle(start: Array, end: Array) -> list[Array]:
    """The great circle between two points (lat, lon), as pieces of (lon, lat) rows.

    No piece crosses the antimeridian. Between antipodes it is the one over the North Pole.
    """
    a, b = unit_vectors(start), unit_vectors(end)
    across = b - (a @ b) * a
    if np.linalg.norm(across) < 1e-9:
        pole = np.array([0.0, 0.0, 1.0]) if abs(a[2]) < 0.9 else np.array([1.0, 0.0, 0.0])
        across = pole - (a @ pole) * a
    angles = np.linspace(0, np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b), _STEPS)[:, None]
    along = a * np.cos(angles) + across / np.linalg.norm(across) * np.sin(angles)
    points = np.degrees(
        np.column_stack(
            [np.arctan2(along[:, 1], along[:, 0]), np.arcsin(np.clip(along[:, 2], -1, 1))]
        )
    )
    points[0], points[-1] = start[::-1], end[::-1]
    return _cut(points)


def _cut(points: Array) -> list[Array]:
    pieces, rest = [], points
    while len(jumps := np.flatnonzero(np.abs(np.diff(rest[:, 0])) > 180)):
        last = int(jumps[0])
        (lon, lat), (next_lon, next_lat) = rest[last], rest[last + 1]
        side = np.copysign(180.0, lon)
        width = 360 - abs(next_lon - lon)
        edge = lat + (next_lat - lat) * (abs(side - lon) / width if width else 0.0)
        pieces.append(np.vstack([rest[: last + 1], [side, edge]]))
        rest = np.vstack([[-side, edge], rest[last + 1 :]])
    return [*pieces, rest]


@cache
def outlines() -> list[Array]:
    """Coasts and borders as lines of (lon, lat): Natural Earth, 1:110m, public domain."""
    text = (files("img2loc.bench.reports") / "outlines.json").read_text(encoding="utf-8")
    return [np.array(line) for line in json.loads(text)["lines"]]
