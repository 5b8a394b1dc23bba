"""The name of a place, as an LMM writes it → its location, offline, from GeoNames (index/places).

The towns of towns.arrow and the cities of cities.csv, whose populations decide between towns of one
name. A region or a country alone lies where its most populous city lies, as in index/places.
"""

import csv
import json
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from img2loc.core import paths
from img2loc.core.geo import distance_km
from img2loc.core.places import town_table
from img2loc.core.types import Location

_SAME_PLACE_KM = 50.0
_ONE_TOWN_KM = 10.0
_MOST_SEGMENTS = 8
_MOST_LINES = 40
_COUNTRIES = {
    **dict.fromkeys(("usa", "united states of america", "america"), "US"),
    **dict.fromkeys(("uk", "great britain", "england", "scotland", "wales"), "GB"),
    **dict.fromkeys(("northern ireland", "united kingdom of great britain"), "GB"),
    **dict.fromkeys(("uae", "emirates"), "AE"),
    **dict.fromkeys(("korea", "republic of korea", "south korea"), "KR"),
    **dict.fromkeys(("drc", "dr congo", "democratic republic of congo"), "CD"),
    **{"holland": "NL", "czechia": "CZ", "turkiye": "TR", "burma": "MM", "ivory coast": "CI"},
    **{
        "russia": "RU",
        "vatican": "VA",
        "macedonia": "MK",
        "palestine": "PS",
        "peoples republic of china": "CN",
    },
}
"""Names that neither list has, to ISO codes."""
_ENGLISH = {
    **{"bangalore": "bengaluru", "bombay": "mumbai", "calcutta": "kolkata", "madras": "chennai"},
    **{"kiev": "kyiv", "saigon": "ho chi minh city", "peking": "beijing", "rangoon": "yangon"},
    **{"nur sultan": "astana", "lvov": "lviv", "kharkov": "kharkiv", "odessa": "odesa"},
    **{"tel aviv yafo": "tel aviv", "washington dc": "washington"},
}
"""Names that LMMs still use, to GeoNames' own."""
_SURNAME = re.compile(r" (?:a[mn]|i[mn]|bei|ob|der|upon|on|under|sur|city)\b.*")
"""What may be left out of a name: Frankfurt (am Main), Quebec (City)."""
_GENERIC = {
    *("province", "state", "prefecture", "region", "county", "oblast", "department", "district"),
    *("governorate", "municipality", "canton", "city", "of", "the"),
}
_LEAD = re.compile(
    r"^.*\b(?:in|at|near|of|is|from|as)\s+(?:the\s+)?(?:(?:town|city|village) of\s+)?"
)
_NOT_A_NAME = re.compile(r"\([^)]*\)|[*_`\"“”#>]|^\s*[-•]\s|^[^:]{0,40}:\s", re.MULTILINE)
_KEYS = (
    ("landmark", "place", "name", "village", "town", "city", "location"),
    ("region", "state", "province", "county", "prefecture"),
    ("country",),
)

_LABELED = re.compile(
    rf"^\W*({'|'.join(key for keys in _KEYS for key in keys)})\W*:\W*([^\n]+)$",
    re.IGNORECASE | re.MULTILINE,
)


def named_location(text: str) -> Location | None:
    """Where the place that a text names lies; None where it names none that is known.

    The last line that names one counts, written as town, region, country or a part of that; or a
    JSON object with such keys. A town whose name is given to several far apart is none, unless
    region, country or population tell.
    """
    for line in _lines(text):
        segments = [name for part in line.split(",") if (name := _plain(part))]
        if segments and (at := _placed(segments[-_MOST_SEGMENTS:])):
            return at
    return None


def places_named(name: str, country: str = "") -> list[tuple[Location, int]]:
    """Every town of a name, with its population (0: not known), the most populous first.

    `country` is its name or ISO code; empty for all. Entries of one place count once.
    """
    known = _gazetteer()
    code = known.countries.get(_plain(country), country.upper())
    found: list[tuple[Location, int]] = []
    entries = sorted(known.entries(_plain(name)), key=lambda entry: -entry.population)
    for entry in entries:
        far = all(distance_km(entry.location, at) > _ONE_TOWN_KM for at, _ in found)
        if far and (not code or entry.country == code):
            found.append((entry.location, entry.population))
    return found


@dataclass(frozen=True, slots=True)
class _Entry:
    location: Location
    region: str
    country: str
    population: int = 0


class _Gazetteer:
    """The entries by plain name, and the countries by name or code."""

    def __init__(self) -> None:
        self.table = town_table()
        columns = {name: self.table[name].to_pylist() for name in self.table.column_names}
        self._columns: dict[str, list[Any]] = columns
        self._rows: dict[str, list[int]] = defaultdict(list)
        short: dict[str, list[int]] = defaultdict(list)
        for row, name in enumerate(map(_plain, columns["name"])):
            self._rows[name].append(row)
            if (head := _SURNAME.sub("", name)) != name:
                short[head].append(row)
        self._short_rows = short
        self.countries = dict(_COUNTRIES)
        pairs = set(zip(columns["country"], columns["country_code"], strict=True))
        self.us_states = {}
        for place in _csv("countries.csv"):
            code, _, state = place["code"].partition("-")
            pairs.add((place["country"], code))
            if state:
                self.us_states[state.lower()] = _plain(place["region"])
        for country, code in pairs:
            self.countries |= {_plain(country): code, code.lower(): code}
        self._cities: dict[str, list[_Entry]] = defaultdict(list)
        self.by_country: dict[str, list[_Entry]] = defaultdict(list)
        for city in _csv("cities.csv"):
            entry = _Entry(
                Location(float(city["lat"]), float(city["lon"])),
                _plain(city["region"]),
                city["country_code"],
                int(city["population"] or 0),
            )
            self._cities[_plain(city["city"])].append(entry)
            self.by_country[entry.country].append(entry)

    def entries(self, name: str) -> Iterator[_Entry]:
        """The cities, then the towns, of that plain name, with and without its surname."""
        name = _ENGLISH.get(name, name)
        head = _SURNAME.sub("", name)
        yield from self._cities.get(name, ())
        columns = self._columns
        rows = (self._rows.get(name), self._rows.get(head), self._short_rows.get(name))
        for row in dict.fromkeys(row for some in rows for row in some or ()):
            at = Location(columns["lat_e5"][row] / 1e5, columns["lon_e5"][row] / 1e5)
            yield _Entry(at, _plain(columns["region"][row]), columns["country_code"][row])


def _placed(segments: Sequence[str]) -> Location | None:
    """The location of the best reading of a list of plain names, the smallest place first."""
    known = _gazetteer()
    best: list[_Entry] = []
    most, at = 0, -1
    for number, segment in enumerate(segments):
        around = segments[number + 1 :]
        for name in dict.fromkeys((segment, _LEAD.sub("", segment))):
            for entry in known.entries(name):
                fit = _fit(entry, around) if around else int(len(segments) == 1)
                if fit > most:
                    best, most, at = [], fit, number
                if fit == most and number == at:
                    best.append(entry)
    if best:
        return _most_populous(best)
    codes = [known.countries[name] for name in segments if name in known.countries]
    cities = [city for code in codes[-1:] for city in known.by_country[code]]
    inside = [city for city in cities if any(_alike(city.region, name) for name in segments)]
    if not inside and any(name not in known.countries for name in segments):
        return None  # A town that is not known.
    chosen = inside or cities
    return max(chosen, key=lambda city: city.population).location if chosen else None


def _fit(entry: _Entry, around: Sequence[str]) -> int:
    """How many of region and country the names around a town's confirm; the country counts 2."""
    known = _gazetteer()
    states = [known.us_states.get(name, name) if entry.country == "US" else name for name in around]
    country = any(known.countries.get(name) == entry.country for name in around)
    return 2 * country + any(_alike(entry.region, name) for name in states)


def _most_populous(entries: Sequence[_Entry]) -> Location | None:
    largest = max(entries, key=lambda entry: entry.population)
    if largest.population:
        return largest.location
    first = entries[0].location
    near = all(distance_km(first, entry.location) <= _SAME_PLACE_KM for entry in entries)
    return first if near else None


def _alike(region: str, name: str) -> bool:
    """Whether two names are of one region: "Tokyo" and "Tokyo Prefecture"."""
    words = [set(text.split()) - _GENERIC for text in (region, name)]
    return bool(words[0]) and words[0] == words[1]


def _lines(text: str) -> Iterator[str]:
    """The lines in which a place may be named, the likeliest first."""
    start, end = text.rfind("{"), text.rfind("}")
    try:
        record = json.loads(text[start : end + 1]) if start >= 0 else None
    except ValueError:
        record = None
    if isinstance(record, dict):
        by_key = {str(key).lower(): value for key, value in record.items()}
        found = [
            [by_key[key] for key in keys if isinstance(by_key.get(key), str)] for keys in _KEYS
        ]
        yield ", ".join(name for names in found for name in names)
    labeled = {match[1].lower(): match[2] for match in _LABELED.finditer(text)}
    if len(labeled) > 1:
        yield ", ".join(labeled[key] for keys in _KEYS for key in keys if key in labeled)
    for line in reversed(text.strip().splitlines()[-_MOST_LINES:]):
        yield _NOT_A_NAME.sub(" ", line)


def _plain(name: str) -> str:
    """A name without case, accents and punctuation."""
    text = unicodedata.normalize("NFKD", name.casefold())
    text = "".join(char for char in text if not unicodedata.combining(char) and char not in ".'’")
    words = re.sub(r"[^\w]+", " ", text).split()
    return " ".join("st" if word == "saint" else word for word in words)


def _csv(name: str) -> list[dict[str, str]]:
    with (paths.folder("index") / "places" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@cache
def _gazetteer() -> _Gazetteer:
    return _Gazetteer()
