"""The radius of a guess: how far neighbours or candidates scatter around the answer."""

from collections.abc import Sequence

import numpy as np

from img2loc.core.geo import Array, degrees, spread_km
from img2loc.core.types import Location, Neighbour

TEMPERATURE = 0.05
"""Each 0.05 of cosine similarity behind the nearest divides a neighbour's weight by e."""
NEIGHBOURS = 16
"""Neighbours that a radius is measured over, however few are shown or decide."""
_SHARE = 0.68
"""The radius holds this share of the weight: one standard deviation's worth."""
_MIN_POINTS = 3
_MIN_KM = 1.0
"""The literature's street level: gallery coordinates are no finer."""


def weights(neighbours: Sequence[Neighbour]) -> Array:
    """The neighbours' weights, which sum to 1: a softmax of their similarities."""
    similarity = np.array([neighbour.similarity for neighbour in neighbours])
    raw = np.exp((similarity - similarity.max(initial=-1.0)) / TEMPERATURE)
    return np.asarray(raw / raw.sum(), dtype=np.float64)


def radius_km(answer: Location, points: Array, weights: Array) -> float | None:
    """The radius around an answer that holds 68 % of the points' weight; None for fewer than three.

    It measures scatter and guarantees nothing: a photograph whose place the gallery does not hold
    can have neighbours that agree on a wrong one. `points` are (lat, lon) rows in degrees.
    """
    if len(points) < _MIN_POINTS:
        return None
    return round(max(_MIN_KM, spread_km(answer, points, weights, _SHARE)), 1)


def neighbours_radius_km(answer: Location, neighbours: Sequence[Neighbour]) -> float | None:
    """The radius by a photograph's neighbours, weighted by similarity."""
    points = degrees([neighbour.location for neighbour in neighbours])
    return radius_km(answer, points, weights(neighbours))
