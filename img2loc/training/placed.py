"""A CSV of photographs → photographs with the names of their places: the CSV's own, else those of the nearest town."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from img2loc.places import place_at
from img2loc.sources import CsvSource
from img2loc.tables import CsvTable
from img2loc.types import Photo, Rejected

NAMES = ("city", "region", "country")


@dataclass(frozen=True, slots=True)
class PlacedPhoto:
    """A photograph and what its place is called; "" where it has no name at that level."""

    photo: Photo
    city: str = ""
    region: str = ""
    country: str = ""


def placed_photos(
    path: Path, photos: Path | None = None, columns: Mapping[str, str] | None = None
) -> Iterator[PlacedPhoto | Rejected]:
    """One for each row of the CSV, in its order, or the reason why it is of no use. Raises SourceError.

    Names are those of the columns city, region (or state) and country; a row that names no country gets all three from the town
    nearest to its coordinates, by GeoNames, as far as that is within 100 km.
    """
    source = CsvSource(path, photos, columns)
    named = {role: header for role, header in CsvTable(path, ("photo", "lat", "lon"), columns).columns.items() if role in NAMES}
    cells = iter(CsvTable(path, tuple(named), {**(columns or {}), **named}, ("photo", "lat", "lon", *NAMES)))
    for entry in source:
        row = next(cells)
        if isinstance(entry, Rejected):
            yield entry
            continue
        names = {role: "" if isinstance(row, Rejected) else row[1].get(role, "") for role in NAMES}
        if not names["country"]:
            place = place_at(entry.location)
            if place is None:
                yield Rejected(entry.id, "no town within 100 km names its place")
                continue
            names = {"city": place.name, "region": place.region, "country": place.country}
        yield PlacedPhoto(entry.photo, **names)
