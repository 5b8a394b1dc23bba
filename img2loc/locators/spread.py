"""How far the evidence scatters around an answer: its spread, which guarantees nothing.

A photograph whose place the gallery does not hold can have neighbours that agree on a wrong one.
What a spread is worth as a radius is a matter of `calibration`.
"""

from collections.abc import Sequence

import numpy as np

from img2loc.core.geo import EARTH_RADIUS_KM, Array, degrees, distances_km
from img2loc.core.types import Location, Neighbour

TEMPERATURE = 0.05
"""Each 0.05 of cosine similarity behind the nearest divides a neighbour's weight by e."""
NEIGHBOURS = 16
"""Neighbours that a spread is measured over, however few are shown or decide."""
MIN_KM = 1.0
"""The literature's street level: gallery coordinates are no finer."""
_SHARE = 0.68
"""The spread holds this share of the weight: one standard deviation's worth."""
_MIN_POINTS = 2
_ROUNDING = 1e-9


def weights(neighbours: Sequence[Neighbour]) -> Array:
    """The neighbours' weights, which sum to 1: a softmax of their similarities."""
    similarity = np.array([neighbour.similarity for neighbour in neighbours])
    raw = np.exp((similarity - similarity.max(initial=-1.0)) / TEMPERATURE)
    return np.asarray(raw / raw.sum(), dtype=np.float64)


def spread_km(answer: Location, points: Array, weights: Array) -> float | None:
    """The radius around an answer that holds 68 % of the weight; None for less than two points.

    `points` are (lat, lon) rows in degrees. Where the weights sum to less than 1, as probabilities
    of a few out of many do, the rest is spread evenly over the Earth.
    """
    if len(points) < _MIN_POINTS:
        return None
    distances = distances_km(degrees([answer]), points)
    order = np.argsort(distances, kind="stable")
    distances, held = distances[order], np.cumsum(weights[order])
    held /= max(1.0, held[-1])
    rest = 1.0 - held[-1]
    reached = np.flatnonzero(held + rest * _cap(distances) >= _SHARE - _ROUNDING)
    place = int(reached[0]) if len(reached) else len(points)
    at = distances[place] if len(reached) else np.pi * EARTH_RADIUS_KM
    before = held[place - 1] if place else 0.0
    if (
        rest > _ROUNDING and before + rest * float(_cap(np.array(at))) >= _SHARE
    ):  # Reached between two points.
        at = EARTH_RADIUS_KM * np.arccos(1 - 2 * (_SHARE - before) / rest)
    return round(max(MIN_KM, float(at)), 1)


def neighbours_spread_km(answer: Location, neighbours: Sequence[Neighbour]) -> float | None:
    """The spread of a photograph's neighbours, the most similar first.

    They are weighted by their probability over the whole gallery, where they have one (points and
    texts: the prediction density of arXiv 2111.11952), else by similarity. Of neighbours in one
    place only the first counts: ten photographs of one church are one witness.
    """
    points = degrees([neighbour.location for neighbour in neighbours])
    probabilities = [neighbour.probability for neighbour in neighbours]
    known = [one for one in probabilities if one is not None]
    if len(known) == len(probabilities):
        return spread_km(answer, points, np.array(known, dtype=np.float64))
    near = distances_km(points[:, None], points) <= MIN_KM
    first = np.flatnonzero(~np.tril(near, -1).any(axis=1))
    if len(first) == 1 < len(neighbours):
        return MIN_KM
    return spread_km(answer, points[first], weights([neighbours[int(row)] for row in first]))


def _cap(distances_km: Array) -> Array:
    """The share of the Earth within a distance."""
    return np.asarray((1 - np.cos(distances_km / EARTH_RADIUS_KM)) / 2)
