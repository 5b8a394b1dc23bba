"""Names as LMMs write them → locations."""

import csv

import pytest

from img2loc.core import paths
from img2loc.core.gazetteer import named_location
from img2loc.core.geo import distance_km
from img2loc.core.types import Location

PLACES = {
    "Paris, Île-de-France, France": (48.86, 2.35),
    "Paris": (48.86, 2.35),
    "paris, texas, usa": (33.66, -95.56),
    "Eiffel Tower, Paris, Île-de-France, France": (48.86, 2.35),
    "The photo was taken in Lyon, Auvergne-Rhône-Alpes, France.": (45.75, 4.85),
    "It shows a fortress.\n\n**Tbilisi, Georgia**": (41.69, 44.83),
    "Atlanta, Georgia": (33.75, -84.39),
    "New York, New York, USA": (40.71, -74.01),
    "Washington, D.C., USA": (38.90, -77.04),
    "Portland, OR, USA": (45.52, -122.68),
    "Springfield, Illinois, United States": (39.80, -89.64),
    "St. Petersburg, Russia": (59.94, 30.31),
    "Frankfurt, Germany": (50.11, 8.68),
    "Freiburg im Breisgau, Germany": (48.00, 7.85),
    "Bangalore, India": (12.97, 77.59),
    "Shibuya, Tokyo, Japan": (35.68, 139.70),
    "Hong Kong": (22.28, 114.17),
    "Tuscany, Italy": (43.78, 11.25),
    "France": (48.86, 2.35),
    '{"city": "Cusco", "country": "Peru", "reasoning": "terraces, Lima"}': (-13.53, -71.97),
    "Town: Bath\nRegion: England\nCountry: United Kingdom": (51.38, -2.36),
}
NONE = [
    "",
    "I don't know",
    "Sorry, I can't help with that.",
    "Atlantis",
    "Atlantis, France",  # Not Paris.
    "Naples, USA",  # Of several towns, and no city among them.
    "{",
    '{"latitude": 48.85, "longitude": 2.29}',
    ", , ,",
    "48.85, 2.29",
]


@pytest.mark.parametrize("text", PLACES)
def test_a_named_place(text: str) -> None:
    found = named_location(text)
    assert found is not None
    assert distance_km(found, Location(*PLACES[text])) < 10


@pytest.mark.parametrize("text", NONE)
def test_no_place(text: str) -> None:
    assert named_location(text) is None


def test_every_city_is_found_by_its_own_name() -> None:
    places = paths.folder("index") / "places"
    with (places / "countries.csv").open(encoding="utf-8", newline="") as file:
        countries = {row["code"]: row["country"] for row in csv.DictReader(file)}
    with (places / "cities.csv").open(encoding="utf-8", newline="") as file:
        cities = list(csv.DictReader(file))[::10]
    missed = []
    for city in cities:
        name = f"{city['city']}, {city['region']}, {countries[city['country_code']]}"
        found = named_location(name)
        truth = Location(float(city["lat"]), float(city["lon"]))
        if found is None or distance_km(found, truth) > 25:
            missed.append(name)
    assert len(missed) <= len(cities) // 100, missed
