"""Distances, densities and spreads, against geopy's great circle and by hand."""

import numpy as np
import pytest
from geopy.distance import great_circle  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from img2loc.core.geo import degrees, densest, distance_km, distances_km, spread_km
from img2loc.core.types import Location

locations = st.builds(Location, st.floats(-90, 90), st.floats(-180, 180))


@given(locations, locations)
def test_distance_agrees_with_geopy(a: Location, b: Location) -> None:
    theirs = great_circle((a.lat, a.lon), (b.lat, b.lon)).km  # on a sphere of 6371.009 km
    assert distance_km(a, b) == pytest.approx(theirs * 6371.0088 / 6371.009, abs=0.001, rel=1e-7)


@given(locations, locations)
def test_distance_is_symmetric_and_bounded(a: Location, b: Location) -> None:
    assert distance_km(a, b) == pytest.approx(distance_km(b, a))
    assert 0 <= distance_km(a, b) <= np.pi * 6371.0089


def test_distance_across_the_antimeridian_is_short() -> None:
    assert distance_km(Location(0, 179.9), Location(0, -179.9)) == pytest.approx(22.24, abs=0.01)


def test_densest_place_outvotes_a_nearer_loner() -> None:
    points = degrees(
        [Location(10, 10), Location(48.85, 2.29), Location(48.86, 2.30), Location(48.84, 2.31)]
    )
    assert densest(points, np.array([0.3, 0.25, 0.25, 0.2]), 25.0) in (1, 2, 3)
    assert densest(points, np.array([0.9, 0.04, 0.03, 0.03]), 25.0) == 0


def test_densest_across_the_antimeridian() -> None:
    points = degrees([Location(0, 0), Location(0, 179.99), Location(0, -179.99)])
    assert densest(points, np.array([0.4, 0.3, 0.3]), 25.0) == 1


def test_densest_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no points"):
        densest(np.empty((0, 2)), np.empty(0), 25.0)


def test_spread_holds_the_share_of_weight() -> None:
    centre = Location(0, 0)
    points = degrees([Location(0, 0), Location(0, 1), Location(0, 10)])
    weights = np.array([0.5, 0.2, 0.3])
    assert spread_km(centre, points, weights, 0.5) == 0
    assert spread_km(centre, points, weights, 0.68) == pytest.approx(111.19, abs=0.01)
    assert spread_km(centre, points, weights, 0.71) == pytest.approx(1111.95, abs=0.1)


@pytest.mark.parametrize(
    ("lat", "lon"),
    [(91, 0), (-90.1, 0), (0, 180.1), (0, -181), (float("nan"), 0), (0, float("inf"))],
)
def test_a_location_is_a_point_on_earth(lat: float, lon: float) -> None:
    with pytest.raises(ValueError, match="is not between"):
        Location(lat, lon)


def test_distances_broadcast() -> None:
    a, b = (
        degrees([Location(0, 0), Location(1, 1)]),
        degrees([Location(0, 0), Location(0, 90), Location(0, 180)]),
    )
    table = distances_km(a[:, None], b[None])
    assert table.shape == (2, 3)
    assert table[0, 2] == pytest.approx(np.pi * 6371.0088)
