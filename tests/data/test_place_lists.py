"""The place list: every country, each city where it is, homonyms apart.

Truth: ISO, reverse look-ups, known coordinates.
"""

import csv
import re
import unicodedata
from collections import defaultdict
from itertools import combinations

import numpy as np
import pycountry
import pytest

from img2loc.core import paths
from img2loc.core.geo import degrees, distance_km, distances_km
from img2loc.core.places import country_codes
from img2loc.core.types import Location

PLACES = paths.folder("index") / "places"
Row = dict[str, str]


def read(name: str) -> list[Row]:
    with (PLACES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


COUNTRIES, CITIES = read("countries.csv"), read("cities.csv")


def at(row: Row) -> Location:
    return Location(float(row["lat"]), float(row["lon"]))


def units() -> dict[str, list[Row]]:
    """The cities of each country and of each state."""
    found = defaultdict(list)
    for row in CITIES:
        for unit in filter(None, (row["country_code"], row["region_code"])):
            found[unit].append(row)
    return found


def test_every_iso_country_and_every_us_state_is_there_and_has_a_city() -> None:
    iso = {country.alpha_2 for country in pycountry.countries}
    parts = pycountry.subdivisions.get(country_code="US")  # type: ignore[no-untyped-call]
    states = {entry.code for entry in parts if entry.type in ("State", "District")}
    assert len(iso) == 249
    assert len(states) == 51
    assert {row["code"] for row in COUNTRIES} == iso | states | {"XK"}
    assert set(units()) == iso | states | {"XK"}


def test_states_are_called_what_iso_calls_them() -> None:
    for row in COUNTRIES:
        if "-" in row["code"]:
            assert row["region"] == pycountry.subdivisions.get(code=row["code"]).name  # type: ignore[no-untyped-call]
            assert row["country"] == "United States"


@pytest.mark.parametrize(
    ("code", "name"),
    [("BO", "Bolivia"), ("KR", "South Korea"), ("VN", "Vietnam"), ("CZ", "Czechia"),
     ("TZ", "Tanzania"), ("CI", "Ivory Coast"), ("US", "United States"), ("GE", "Georgia"),
     ("SY", "Syria"), ("RU", "Russia"), ("NL", "Netherlands"), ("TR", "Turkey")],
)  # fmt: skip
def test_countries_are_called_what_people_call_them(code: str, name: str) -> None:
    assert next(row["country"] for row in COUNTRIES if row["code"] == code) == name


def test_no_two_units_have_the_same_name() -> None:
    names = [(row["country"], row["region"]) for row in COUNTRIES]
    assert len(set(names)) == len(names)


def test_at_most_thirty_each_most_populous_first() -> None:
    for unit, rows in units().items():
        population = [int(row["population"]) for row in rows]
        assert population == sorted(population, reverse=True), unit
        assert 1 <= len(rows) <= (30 if unit != "US" else 30 * 51)
    full = [unit for unit, rows in units().items() if len(rows) >= 30]
    assert len(full) > 200


def test_every_city_is_in_its_country_by_another_table() -> None:
    """By reverse-geocode's nearest town, which for a border town may be across the border."""
    points = degrees([at(row) for row in CITIES])
    found = country_codes(points)
    wrong = [
        (row["country_code"], row["city"], code)
        for row, code in zip(CITIES, found, strict=True)
        if code not in (row["country_code"], "??")
    ]
    assert len(wrong) <= 0.004 * len(CITIES), wrong
    assert not {(country, city) for country, city, _ in wrong} & {
        (row["code"], row["city"]) for row in COUNTRIES
    }
    assert found.count("??") < 0.01 * len(CITIES)  # Stations, islands, oases.


def test_each_unit_lies_at_its_most_populous_city() -> None:
    first = {unit: rows[0] for unit, rows in units().items()}
    for row in COUNTRIES:
        assert (row["city"], at(row)) == (first[row["code"]]["city"], at(first[row["code"]]))


# Known to the degree and minute, from no table of ours.
HOMONYMS = [
    ("FR", "Paris", 48.86, 2.35),
    ("CL", "Santiago", -33.45, -70.66),
    ("DO", "Santiago de los Caballeros", 19.45, -70.70),
    ("CU", "Santiago de Cuba", 20.02, -75.82),
    ("GB", "Birmingham", 52.48, -1.90),
    ("US-AL", "Birmingham", 33.52, -86.81),
    ("SC", "Victoria", -4.62, 55.45),
    ("CR", "San José", 9.93, -84.08),
    ("US-CA", "San Jose", 37.34, -121.89),
    ("AR", "Córdoba", -31.41, -64.18),
    ("ES", "Córdoba", 37.88, -4.78),
    ("ES", "Valencia", 39.47, -0.38),
    ("VE", "Valencia", 10.16, -68.00),
    ("IN", "Hyderabad", 17.38, 78.47),
    ("PK", "Hyderabad", 25.39, 68.37),
    ("US-OR", "Portland", 45.52, -122.68),
    ("US-ME", "Portland", 43.66, -70.26),
    ("US-MO", "Springfield", 37.21, -93.29),
    ("US-IL", "Springfield", 39.80, -89.64),
    ("US-GA", "Atlanta", 33.75, -84.39),
    ("GE", "Tbilisi", 41.69, 44.83),
    ("GY", "Georgetown", 6.80, -58.16),
    ("AU", "Newcastle", -32.93, 151.78),
    ("GB", "Newcastle upon Tyne", 54.97, -1.61),
    ("ZA", "East London", -33.02, 27.91),
    ("CO", "Barranquilla", 10.97, -74.78),
    ("ES", "Barcelona", 41.39, 2.16),
    ("VE", "Barcelona", 10.13, -64.69),
    ("MX", "Mérida", 20.97, -89.62),
    ("VE", "Mérida", 8.59, -71.14),
    ("LY", "Tripoli", 32.89, 13.19),
    ("LB", "Tripoli", 34.44, 35.83),
]


@pytest.mark.parametrize(("unit", "city", "lat", "lon"), HOMONYMS)
def test_homonyms_have_their_own_countrys_coordinates(
    unit: str, city: str, lat: float, lon: float
) -> None:
    rows = [row for row in units()[unit] if row["city"] == city]
    assert rows
    assert (
        distance_km(at(rows[0]), Location(lat, lon)) < 15
    )  # The first is the most populous of that name.


def test_sections_of_cities_are_no_cities() -> None:
    names = {(row["country_code"], row["city"]) for row in CITIES}
    for section in [("US", "Brooklyn"), ("US", "Queens"), ("GB", "Islington"),
                    ("DE", "Wandsbek"), ("AT", "Favoriten"), ("TR", "Bağcılar"),
                    ("MX", "Iztapalapa"), ("JP", "Setagaya")]:  # fmt: skip
        assert section not in names
    assert not [name for country, name in names if country == "FR" and name.startswith("Paris ")]


def names_in(unit: str) -> dict[str, Row]:
    return {row["city"]: row for row in units()[unit]}


@pytest.mark.parametrize(
    ("unit", "name"),
    [("JP", "Suginami"), ("JP", "Honcho"), ("KE", "Karuri"), ("GH", "Takoradi"),
     ("TH", "Nong Chok"), ("TH", "Khlong Sam Wa"), ("TH", "Lat Krabang"), ("TH", "Latkrabang"),
     ("PL", "Białołeka"), ("AE", "Al Twar 3"), ("AE", "As Satwah Sharq"), ("GI", "South District"),
     ("IT", "Acilia-Castel Fusano-Ostia Antica"), ("EH", "Bir Ghandouz"), ("PH", "Budta")],
)  # fmt: skip
def test_what_is_no_town_or_has_anothers_population_is_left_out(unit: str, name: str) -> None:
    assert name not in names_in(unit)


@pytest.mark.parametrize(
    ("unit", "name", "lat", "lon"),
    [("JP", "Funabashi", 35.69, 139.98), ("IR", "Maragheh", 37.39, 46.24),
     ("PK", "Sahiwal", 30.67, 73.11), ("GR", "Patras", 38.25, 21.73),
     ("GR", "Heraklion", 35.34, 25.13), ("GR", "Rhodes", 36.44, 28.22),
     ("SA", "Mecca", 21.42, 39.83), ("SA", "Medina", 24.47, 39.61),
     ("MN", "Ulaanbaatar", 47.92, 106.92), ("CH", "Biel", 47.14, 7.25),
     ("CD", "Bandundu", -3.32, 17.37), ("IL", "Petah Tiqva", 32.09, 34.89),
     ("GH", "Sekondi-Takoradi", 4.93, -1.75), ("US-WA", "Sammamish", 47.62, -122.04),
     ("US-VA", "Hampton", 37.03, -76.35)],
)  # fmt: skip
def test_towns_are_where_they_are_by_the_name_that_english_has(
    unit: str, name: str, lat: float, lon: float
) -> None:
    assert distance_km(at(names_in(unit)[name]), Location(lat, lon)) < 15


def test_washington_and_bangkok_are_one_city_each() -> None:
    assert list(names_in("US-DC")) == ["Washington"]
    assert [
        row["city"] for row in CITIES if row["country_code"] == "TH" and row["region"] == "Bangkok"
    ] == ["Bangkok"]


def test_no_town_is_listed_twice() -> None:
    """Within 2 km, or with the same name and population; the Maldives have two Guraidhoos."""
    twice = []
    for unit, rows in units().items():
        if unit == "US":
            continue  # Its states are looked at one by one.
        points = degrees([at(row) for row in rows])
        between = distances_km(points[:, None], points[None, :])
        for (i, a), (j, b) in combinations(enumerate(rows), 2):
            same = (a["city"], a["population"]) == (b["city"], b["population"]) and a[
                "population"
            ] != "0"
            if between[i, j] < 1.99 or same:
                twice.append((unit, a["city"], b["city"]))
    assert twice == [("MV", "Guraidhoo", "Guraidhoo")]


def test_towns_of_one_population_are_known_to_be_two() -> None:
    """An exact population that occurs twice is often a copy: each pair here was checked."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in CITIES:
        if (
            row["country_code"] != "US"
            and int(row["population"]) >= 5000
            and not row["population"].endswith("00")
        ):
            found[row["country_code"], row["population"]].append(row["city"])
    assert sorted(tuple(sorted(names)) for names in found.values() if len(names) > 1) == [
        ("Ajdovščina", "Brežice"),
        ("Bani Naim", "Jericho"),
        ("Farkhor", "Hulbuk"),
        ("Lapithos", "Rizokarpaso"),
        ("Ma'rib", "Mocha"),
        ("Ngong Ping", "Sha Tau Kok"),
        ("Preiļi", "Saldus"),
        ("Saýat", "Seydi"),
        ("Sühbaatar", "Undurkhaan"),
    ]


def test_names_are_what_a_caption_would_say() -> None:
    for row in CITIES:
        assert not re.search(
            r"[()/]|^City of | Parish$|balance|[\u2018\u2019\u02bb\u02bc`]", row["city"]
        ), row
        assert not re.search(r"^(City|State|Region) of |[()0-9]", row["region"]), row
        for name in (row["city"], row["region"]):
            marks = unicodedata.normalize("NFD", name)
            assert not re.search("[\u0304\u0323\u0331]", marks) or row["country_code"] in (
                "LV",
                "VN",
                "NZ",
            ), row
            assert not re.search("[sStT]\u0327", marks) or row["country_code"] in (
                "AZ",
                "CY",
                "MD",
                "RO",
                "TM",
                "TR",
            ), row
            assert not re.search("[\u0400-\u04ff]", marks), row


def test_a_countrys_cities_are_spread_out() -> None:
    """Thirty captions within one city's reach would say no more than one."""
    for code in ("FR", "GB", "DE", "JP", "TR", "MX", "IN", "BR", "US"):
        points = degrees([at(row) for row in units()[code][:30]])
        between = distances_km(points[:, None], points[None, :]) + 1e5 * np.eye(len(points))
        assert np.median(between.min(axis=1)) > 15
