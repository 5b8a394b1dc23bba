"""A place list and a template → captions: what a text tower embeds, so that photographs can be compared with places by name."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Location, Rejected
from img2loc.data.tables import Table, open_table

COUNTRIES, CITIES = "countries.csv", "cities.csv"
FIELDS = ("city", "region", "country")


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of a place list; `where` is its file and line."""

    where: str
    cells: dict[str, str]

    def __getitem__(self, column: str) -> str:
        return self.cells[column]

    def said(self, column: str) -> str:
        """A cell that must not be empty."""
        if not self.cells[column]:
            raise self.error(f"{column} is empty. Fill it in, or remove the line.")
        return self.cells[column]

    def location(self) -> Location:
        """Where it is."""
        try:
            return Location(float(self["lat"]), float(self["lon"]))
        except ValueError as error:
            raise self.error(
                f"{error}. Write lat and lon in degrees, such as 48.85 and 2.35."
            ) from error

    def population(self) -> int:
        """People, in digits alone: int() would take 1_000 and -1."""
        text = self["population"]
        if not (text.isascii() and text.isdecimal()):
            raise self.error(
                f"population is {text!r}. Write digits alone, such as 1000, and 0 where it is not"
                " known."
            )
        return int(text)

    def error(self, what: str) -> SourceError:
        """What is wrong there."""
        return SourceError(f"{self.where}: {what}")


class CaptionSource:
    """The countries or the cities of a place list, each with the template filled in as its text.

    `path` is a folder with `countries.csv` and `cities.csv` (index/places/README.md says what they
    hold). A template names {country}, {region} or {city}. An item's id is "FR" or "FR/Paris": what
    stands before the "/" is its unit, the country. Countries in `split` are replaced by their
    regions, whose ids are "US-CA" and "US-CA/Los Angeles". At most the `most` most populous cities
    of each unit are taken. A region's {country} reads "Georgia, United States" where the level is
    "country": the name alone may be another country's. Where a place has no region, {region} is its
    country. Raises SourceError, with file and line, for what a list lacks or has twice.
    """

    def __init__(
        self, path: Path, template: str, level: str, most: int = 30, split: Sequence[str] = ()
    ) -> None:
        if level not in ("country", "city"):
            raise SourceError(f"level is {level!r}; captions are of the level country or city.")
        if most < 1:
            raise SourceError(f"most is {most}; each country needs 1 city or more.")
        check_template(template, ("country", "region") if level == "country" else FIELDS)
        self.path = path
        self._template = template
        self._level = level
        self._most = most
        self._split = frozenset(split)
        countries = _table(path / COUNTRIES, ("code", "country", "region", "lat", "lon"))
        cities = _table(
            path / CITIES,
            ("country_code", "region_code", "city", "region", "lat", "lon", "population"),
        )
        self._countries, self._cities = _rows(countries), _rows(cities)
        regions = {
            code.partition("-")[0]
            for code in (row["code"] for row in self._countries)
            if "-" in code
        }
        if unknown := sorted(self._split - regions):
            known = ", ".join(sorted(regions)) or "none"
            raise SourceError(
                f"{path} has no regions of {unknown[0]!r} to split it into. It has those of:"
                f" {known}."
            )
        self._check_codes()
        choices = json.dumps([template, level, most, sorted(self._split)])
        self.fingerprint = countries.fingerprint(cities.fingerprint(choices))
        self._items = list(self._of_countries() if level == "country" else self._of_cities())

    def __len__(self) -> int:
        """Captions."""
        return len(self._items)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items in the lists' order: units in the order of `countries.csv`, each unit's cities most populous first."""
        return iter(self._items)

    def _check_codes(self) -> None:
        """Every line has what it needs, no code is listed twice, and no city is of a country that is not listed."""
        first: dict[str, str] = {}
        for row in self._countries:
            row.said("country")
            before = first.setdefault(row.said("code"), row.where)
            if before != row.where:
                raise row.error(
                    f"code {row['code']!r} is in {before} too. Remove one of the two lines."
                )
        for row in self._cities:
            row.said("city")
            row.population()
            split = row.said("country_code") in self._split
            column = "region_code" if split and row["country_code"] in first else "country_code"
            if row[column] not in first:
                raise row.error(
                    f"{column} {row[column]!r} is not in {COUNTRIES}. Add it there, or remove the"
                    " line."
                )

    def _units(self) -> list[_Row]:
        """The rows of countries, and of the regions of those that are split."""
        return [
            row
            for row in self._countries
            if (row["code"].partition("-")[0] in self._split) == ("-" in row["code"])
        ]

    def _of_countries(self) -> Iterator[Item]:
        for row in self._units():
            named = f"{row['region']}, {row['country']}" if row["region"] else row["country"]
            text = self._template.format(country=named, region=row["region"] or row["country"])
            yield Item(row["code"], row.location(), label=named, text=text)

    def _of_cities(self) -> Iterator[Item]:
        cities: dict[str, list[_Row]] = {}
        for row in self._cities:
            cities.setdefault(
                row["region_code"] if row["country_code"] in self._split else row["country_code"],
                [],
            ).append(row)
        for unit in self._units():
            taken: set[str] = set()
            populous = sorted(cities.get(unit["code"], ()), key=lambda row: -row.population())
            if not populous:
                raise SourceError(
                    f"{self.path / CITIES} has no city of {unit['code']}. Every country needs one."
                )
            for row in populous[: self._most]:
                region, country = row["region"] or unit["country"], unit["country"]
                identity = f"{unit['code']}/{row['city']}"
                if identity in taken:
                    identity += f", {region}"
                if identity in taken:
                    raise SourceError(
                        f"{self.path / CITIES} has two cities {identity!r}, which a caption cannot"
                        " tell apart."
                    )
                taken.add(identity)
                parts = [row["city"], region, country]
                label = ", ".join(
                    part
                    for part, before in zip(parts, ["", *parts], strict=False)
                    if part != before
                )
                text = self._template.format(city=row["city"], region=region, country=country)
                yield Item(identity, row.location(), label=label, text=text)


def _table(file: Path, columns: Sequence[str]) -> Table:
    """A place list whose columns have these names."""
    if not file.is_file():
        raise SourceError(
            f"{file.parent} has no {file.name}. Name a folder with {COUNTRIES} and {CITIES}."
        )
    return open_table(file, columns, {name: ((name,),) for name in columns})


def _rows(table: Table) -> list[_Row]:
    rows = []
    for row in table:
        if isinstance(row, Rejected):
            raise SourceError(f"{table.path}, {row.reason}. Quote what has commas.")
        where, cells = row
        rows.append(_Row(f"{table.path}, {where}", cells))
    if not rows:
        raise SourceError(
            f"The place list {table.path} has a header and no line below it. Add one for each"
            " place."
        )
    return rows


def check_template(template: str, fields: Sequence[str] = FIELDS) -> None:
    """Raise SourceError unless a template names at least one of these fields, and nothing else."""
    known = ", ".join(f"{{{field}}}" for field in fields)
    try:
        parts = [
            (name, spec, conversion)
            for _, name, spec, conversion in Formatter().parse(template)
            if name is not None
        ]
    except ValueError as error:
        raise SourceError(
            f"The template {template!r} cannot be read ({error}). It may name {known}."
        ) from error
    for name, spec, conversion in parts:
        if name not in fields or spec or conversion:
            raise SourceError(f"The template {template!r} names {name!r}. It may name {known}.")
    if not parts:
        raise SourceError(
            f"The template {template!r} names no place. It must name {known}, or one of them."
        )
