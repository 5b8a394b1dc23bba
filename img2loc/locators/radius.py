"""What a set of neighbours says about a place: how much each counts, and how far they scatter around an answer."""

from collections.abc import Sequence

import numpy as np

from img2loc.core.geo import Array, degrees, spread_km
from img2loc.core.types import Location, Neighbour

TEMPERATURE = 0.05
"""A neighbour's weight falls by e for each 0.05 of cosine similarity that it is behind the first."""
SHARE = 0.68
"""The radius holds this share of the neighbours' weight: one standard deviation's worth."""
EVIDENCE, FEWEST = 16, 3
"""Neighbours that a radius is measured over, however few are shown or decide; and fewer than which it would say nothing."""
FINEST_KM = 1.0
"""No radius is given finer than the literature's street level: gallery coordinates are no better."""


def weights(neighbours: Sequence[Neighbour], temperature: float = TEMPERATURE) -> Array:
    """The neighbours' weights, which sum to 1: a softmax of their similarities."""
    similarity = np.array([neighbour.similarity for neighbour in neighbours])
    raw = np.exp((similarity - similarity.max()) / temperature)
    return np.asarray(raw / raw.sum(), dtype=np.float64)


def radius_km(answer: Location, neighbours: Sequence[Neighbour]) -> float | None:
    """How far around an answer one must go to hold 68 % of the neighbours' weight; None for fewer than three.

    This is how far the evidence scatters, not a promise: a photograph whose place the gallery does
    not hold can have neighbours that agree on a wrong one.
    """
    if len(neighbours) < FEWEST:
        return None
    points = degrees([neighbour.location for neighbour in neighbours])
    return round(max(FINEST_KM, spread_km(answer, points, weights(neighbours), SHARE)), 1)
