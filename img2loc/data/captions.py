"""A place list and a template → captions of places, which a text tower embeds."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from string import Formatter
from typing import Any

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

    def required(self, column: str) -> str:
        """A cell that must not be empty."""
        if not self.cells[column]:
            raise self.error(f"{column} is empty. Fill it in, or remove the line.")
        return self.cells[column]

    def location(self) -> Location:
        """Its coordinates."""
        try:
            return Location(float(self["lat"]), float(self["lon"]))
        except ValueError as error:
            raise self.error(f"{error}. Write degrees, such as 48.85 and 2.35.") from error

    def population(self) -> int:
        """Population, in digits only: int() would take 1_000 and -1."""
        text = self["population"]
        if not (text.isascii() and text.isdecimal()):
            raise self.error(f"population is {text!r}. Write digits only, and 0 if unknown.")
        return int(text)

    def error(self, what: str) -> SourceError:
        """An error with its file and line."""
        return SourceError(f"{self.where}: {what}")


class CaptionSource:
    """The countries or the cities of a place list, each with the template filled in as its text.

    `path` is a folder with `countries.csv` and `cities.csv` (index/places/README.md says what they
    hold). A template names {country}, {region} or {city}. An item's id is "FR" or "FR/Paris": the
    unit, a country, is before the "/". Countries in `split` are replaced by their regions, with the
    ids "US-CA" and "US-CA/Los Angeles". The `most` most populous cities of each unit are taken. At
    the level "country" a region's {country} is "Georgia, United States", since the name alone may
    be another country's. {region} is the country where a place has no region. Where `only` is a
    CSV with the columns code and country, the list is cut down to its countries, under its names.
    Raises SourceError, with file and line, for missing and repeated entries.
    """

    def __init__(
        self,
        path: Path,
        template: str,
        level: str,
        most: int = 30,
        split: Sequence[str] = (),
        only: Path | None = None,
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
        choices: list[Any] = [template, level, most, sorted(self._split)]
        if only is not None:
            chosen = _named(only, ("code", "country"))
            self._keep(_rows(chosen))
            choices.append(chosen.fingerprint(""))
        codes = [row["code"].partition("-") for row in self._countries]
        regions = {country for country, hyphen, _ in codes if hyphen}
        if unknown := sorted(self._split - regions):
            known = ", ".join(sorted(regions)) or "none"
            raise SourceError(f"{path} has no regions of {unknown[0]!r}. It has those of: {known}.")
        self._check_codes()
        self.fingerprint = countries.fingerprint(cities.fingerprint(json.dumps(choices)))
        self._items = list(self._of_countries() if level == "country" else self._of_cities())

    def __len__(self) -> int:
        """Captions."""
        return len(self._items)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items in the order of `countries.csv`, each unit's cities by descending population."""
        return iter(self._items)

    def _keep(self, chosen: Sequence[_Row]) -> None:
        """Only the chosen countries, and their regions and cities, under their names there."""
        known = {row["code"].partition("-")[0] for row in self._countries}
        names: dict[str, str] = {}
        for row in chosen:
            if row["code"] not in known or row["code"] in names:
                raise row.error(
                    f"code {row['code']!r} is repeated, or not in {COUNTRIES}. Remove the line."
                )
            names[row["code"]] = row.required("country")
        self._countries = [
            _Row(row.where, {**row.cells, "country": names[code]})
            for row in self._countries
            if (code := row["code"].partition("-")[0]) in names
        ]
        self._cities = [row for row in self._cities if row["country_code"] in names]

    def _check_codes(self) -> None:
        """Raise SourceError for an incomplete line, a repeated code or an unknown country."""
        first: dict[str, str] = {}
        for row in self._countries:
            row.required("country")
            before = first.setdefault(row.required("code"), row.where)
            if before != row.where:
                raise row.error(f"code {row['code']!r} is in {before} too. Remove one of the two.")
        for row in self._cities:
            row.required("city")
            row.population()
            split = row.required("country_code") in self._split
            column = "region_code" if split and row["country_code"] in first else "country_code"
            if row[column] not in first:
                raise row.error(
                    f"{column} {row[column]!r} is not in {COUNTRIES}. Add it, or remove the line."
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
            name = ", ".join(filter(None, (row["region"], row["country"])))
            text = self._template.format(country=name, region=row["region"] or row["country"])
            yield Item(row["code"], row.location(), label=name, text=text)

    def _of_cities(self) -> Iterator[Item]:
        cities: dict[str, list[_Row]] = {}
        for row in self._cities:
            is_split = row["country_code"] in self._split
            code = row["region_code"] if is_split else row["country_code"]
            cities.setdefault(code, []).append(row)
        for unit in self._units():
            ids: set[str] = set()
            populous = sorted(cities.get(unit["code"], ()), key=lambda row: -row.population())
            if not populous:
                raise SourceError(
                    f"{self.path / CITIES} has no city of {unit['code']}. Every country needs one."
                )
            for row in populous[: self._most]:
                region, country = row["region"] or unit["country"], unit["country"]
                item_id = f"{unit['code']}/{row['city']}"
                if item_id in ids:
                    item_id += f", {region}"
                if item_id in ids:
                    raise SourceError(
                        f"{self.path / CITIES} has two cities {item_id!r}, which would have the"
                        " same caption. Remove one."
                    )
                ids.add(item_id)
                label = ", ".join(name for name, _ in groupby((row["city"], region, country)))
                text = self._template.format(city=row["city"], region=region, country=country)
                yield Item(item_id, row.location(), label=label, text=text)


def _table(file: Path, columns: Sequence[str]) -> Table:
    """A place list whose columns have these names."""
    if not file.is_file():
        raise SourceError(
            f"{file.parent} has no {file.name}. Name a folder with {COUNTRIES} and {CITIES}."
        )
    return _named(file, columns)


def _named(file: Path, columns: Sequence[str]) -> Table:
    return open_table(file, columns, {name: ((name,),) for name in columns})


def _rows(table: Table) -> list[_Row]:
    rows = []
    for row in table:
        if isinstance(row, Rejected):
            raise SourceError(f"{table.path}, {row.reason}. Quote what has commas.")
        where, cells = row
        rows.append(_Row(f"{table.path}, {where}", cells))
    if not rows:
        raise SourceError(f"The place list {table.path} is empty. Add one line for each place.")
    return rows


def check_template(template: str, fields: Sequence[str] = FIELDS) -> None:
    """Raise SourceError unless a template names at least one of these fields, and nothing else."""
    known = ", ".join(f"{{{field}}}" for field in fields)
    try:
        parts = [part[1:] for part in Formatter().parse(template) if part[1] is not None]
    except ValueError as error:
        raise SourceError(
            f"The template {template!r} cannot be read ({error}). It may name {known}."
        ) from error
    for name, spec, conversion in parts:
        if name not in fields or spec or conversion:
            raise SourceError(f"The template {template!r} names {name!r}. It may name {known}.")
    if not parts:
        raise SourceError(f"The template {template!r} names no place. It must name any of {known}.")
