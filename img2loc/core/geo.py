"""Distances, densities and spreads on the sphere. Degrees in, kilometres out."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Location

EARTH_RADIUS_KM = 6371.0088
"""Mean radius R1 of WGS84 (Moritz 2000); all distances are great circles on this sphere."""
COUNTRY_KM = 750.0
"""The literature's "country" threshold: an answer vaguer than this is called unsure."""

THRESHOLDS_KM = (1, 25, 200, 750, 2500)
"""Street, city, region, country, continent: the literature's (Vo et al., ICCV 2017)."""
ROUNDING_KM = 1e-9
"""A micrometre: what is exactly on a threshold counts, however the last bit of a double falls."""

Array = NDArray[np.float64]


def degrees(locations: Sequence[Location]) -> Array:
    """Rows of (lat, lon) in degrees, shape (n, 2)."""
    return np.array([(at.lat, at.lon) for at in locations], dtype=np.float64).reshape(-1, 2)


def distances_km(a: Array, b: Array) -> Array:
    """Great-circle distances between rows of (lat, lon) degrees (haversine); shapes broadcast."""
    lat_a, lon_a = np.radians(a[..., 0]), np.radians(a[..., 1])
    lat_b, lon_b = np.radians(b[..., 0]), np.radians(b[..., 1])
    h = (
        np.sin((lat_b - lat_a) / 2) ** 2
        + np.cos(lat_a) * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
    )
    return np.asarray(2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(h, 0.0, 1.0))))


def distance_km(a: Location, b: Location) -> float:
    """Great-circle distance between two locations."""
    return float(distances_km(degrees([a])[0], degrees([b])[0]))


def hits(errors_km: Array, strict: bool = False) -> NDArray[np.bool_]:
    """Which errors are within which of THRESHOLDS_KM: (n,), NaN for no answer → (n, 5).

    What is on a threshold counts, unless `strict`.
    """
    if strict:
        return np.asarray(errors_km[:, None] < np.array(THRESHOLDS_KM) - ROUNDING_KM)
    return np.asarray(errors_km[:, None] <= np.array(THRESHOLDS_KM) + ROUNDING_KM)


def unit_vectors(points: Array) -> Array:
    """Rows of (lat, lon) degrees → points on the unit sphere, shape (n, 3)."""
    lat, lon = np.radians(points[..., 0]), np.radians(points[..., 1])
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def densest(points: Array, weights: Array, bandwidth_km: float) -> int:
    """Index of the point where a Gaussian kernel density on the sphere is highest (the mode).

    Of equally dense points the first, so that ranked input keeps its order. Raises ValueError
    without points.
    """
    if not len(points):
        raise ValueError("no points: one or more are needed")
    between = distances_km(points[:, None], points[None, :])
    density = np.exp(-0.5 * (between / bandwidth_km) ** 2) @ weights
    return int(np.argmax(density >= density.max() * (1 - 1e-12)))


def spread_km(centre: Location, points: Array, weights: Array, share: float) -> float:
    """Radius of the smallest circle around `centre` with at least `share` of the points' weight."""
    distances = distances_km(degrees([centre]), points)
    order = np.argsort(distances, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    return float(distances[order][min(int(np.searchsorted(shares, share - 1e-9)), len(points) - 1)])


def disk(centre: Location, radius_km: float, count: int) -> Array:
    """Points spread evenly over a circle, its centre first: (lat, lon) in degrees, shape (n, 2)."""
    number = np.arange(count)
    # Equal areas of the sphere's cap, turned by the golden angle.
    arc = np.arccos(1 - (1 - np.cos(radius_km / EARTH_RADIUS_KM)) * number / count)
    bearing = number * np.pi * (3 - np.sqrt(5))
    lat, lon = np.radians((centre.lat, centre.lon))
    sine = np.sin(lat) * np.cos(arc) + np.cos(lat) * np.sin(arc) * np.cos(bearing)
    to_lat = np.arcsin(np.clip(sine, -1, 1))
    to_lon = lon + np.arctan2(
        np.sin(bearing) * np.sin(arc) * np.cos(lat), np.cos(arc) - np.sin(lat) * sine
    )
    points = np.stack([to_lat, (to_lon + np.pi) % (2 * np.pi) - np.pi], axis=1)
    return np.asarray(np.degrees(points))
