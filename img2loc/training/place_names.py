"""A table of photographs → photographs with place names, its own or the nearest town's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from img2loc.core.places import place_at
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.csv_source import CsvSource
from img2loc.data.items import location_of
from img2loc.data.tables import PHOTO_ROLES, known_names, open_table

NAMES = ("city", "region", "country")


@dataclass(frozen=True, slots=True)
class PlacedPhoto:
    """A photograph and what its place is called; "" where it has no name at that level."""

    photo: Photo
    city: str = ""
    region: str = ""
    country: str = ""


def placed_photos(
    path: Path,
    photos: Path | None = None,
    columns: Mapping[str, str] | None = None,
    licenses: Sequence[str] = (),
) -> Iterator[PlacedPhoto | Rejected]:
    """The photograph of each row of a CSV or Parquet file, in its order, or why it has none.

    With `licenses` only rows whose license holds one of these phrases are taken, as `CsvSource`
    does. Names are those of the columns city, region (or state) and country; a row that names no
    country gets all three from the town nearest to its coordinates, by GeoNames, as far as that is
    within 100 km. Raises SourceError.
    """
    table = open_table(
        path, ("photo", "lat", "lon"), {**PHOTO_ROLES, **known_names(*NAMES)}, columns
    )
    rows = (row[1] for row in table if not isinstance(row, Rejected))
    for entry in CsvSource(path, photos, columns, licenses):
        if isinstance(entry, Rejected):
            yield entry
            continue
        cells = next(row for row in rows if _is_of(row, entry))
        names = {role: cells.get(role, "") for role in NAMES}
        if not names["country"]:
            place = place_at(entry.location)
            if place is None:
                yield Rejected(entry.id, "no town within 100 km names its place")
                continue
            names = {"city": place.name, "region": place.region, "country": place.country}
        yield PlacedPhoto(entry.photo, **names)


def _is_of(row: Mapping[str, str], item: Item) -> bool:
    """Whether this row is the item's: the first that is the same in all of these is."""
    return (
        bool(row["photo"])
        and item.id == (row.get("id") or row["photo"])
        and item.license == row.get("license", "")
        and item.location == location_of(row["lat"], row["lon"])
    )
