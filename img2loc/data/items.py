"""Cells or fields that describe a photograph → an Item, or the reason why they give none."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from img2loc.core.types import Item, Location, Photo, Rejected
from img2loc.data.photo_names import SeenIds

BLOCK = 2048
"""Entries that are looked up at once."""


def item_of(
    item_id: str, cells: Mapping[str, str], photo: Photo, where: str = ""
) -> Item | Rejected:
    """The Item of cells by role; `where` begins the reason of a Rejected."""
    location = location_of(cells["lat"], cells["lon"])
    if isinstance(location, str):
        return Rejected(item_id, where + location)
    texts = (cells.get(role, "") for role in ("label", "author", "license"))
    return Item(item_id, location, photo, *texts)


def location_of(lat: str | float, lon: str | float) -> Location | str:
    """The point at a latitude and longitude, or the reason why there is none."""
    try:
        location = Location(float(lat), float(lon))
    except ValueError:
        return f"no point on Earth: lat {lat!r}, lon {lon!r}"
    if location == Location(0.0, 0.0):
        return "0, 0 is a placeholder for an unknown position"
    return location


def unique(
    entries: Iterable[Item | Rejected], seen: SeenIds, reason: str = "duplicate id"
) -> Iterator[Item | Rejected]:
    """The entries, with an item whose id has been seen before rejected for this reason."""
    remaining = iter(entries)
    while block := list(islice(remaining, BLOCK)):
        duplicate = iter(seen.add([entry.id for entry in block if isinstance(entry, Item)]))
        for entry in block:
            is_duplicate = isinstance(entry, Item) and next(duplicate)
            yield Rejected(entry.id, reason) if is_duplicate else entry
