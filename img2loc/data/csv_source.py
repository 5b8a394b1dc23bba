"""A CSV, a folder of geotagged photos, or points → Items; what cannot be used comes out as Rejected, not in silence."""

import hashlib
import json
import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL.ExifTags import GPS, IFD

from img2loc.core import images
from img2loc.core.errors import SourceError, UnreadablePhoto
from img2loc.core.types import Item, Location, Photo, Rejected
from img2loc.data.archives import has_archives
from img2loc.data.photo_names import Seen
from img2loc.data.photo_store import Store
from img2loc.data.tables import COLUMN_NAMES, USUAL, open_table, usual

_BLOCK = 2048
_FIRST = 64


class CsvSource:
    """Rows of a CSV (comma, semicolon or tab) or Parquet file that name photographs and their coordinates.

    Columns are found as `open_table` says. Photographs lie relative to `photos`, or to the file's
    folder. Where `photos` is an archive or a folder of archives, or where none of the first is as
    it is named, they are found there as `Store` says. Without `find` they are named alone, and not
    looked for. With `licenses` only rows whose license holds one of these phrases as whole words
    are taken. Where no column has a usual name for the photographs, the first of `photo_names` that
    is there has them. Raises SourceError.
    """

    def __init__(
        self,
        path: Path,
        photos: Path | None = None,
        columns: Mapping[str, str] | None = None,
        licenses: Sequence[str] = (),
        photo_names: Sequence[str] = (),
        find: bool = True,
    ) -> None:
        self.path = path
        self._photos = photos or path.parent
        self._licenses = [_words(phrase) for phrase in licenses]
        named = (COLUMN_NAMES["photo"], *((name,) for name in photo_names))
        self._table = open_table(path, ("photo", "lat", "lon"), {**USUAL, "photo": named}, columns)
        if self._licenses and "license" not in self._table.columns:
            raise SourceError(
                f"{path} has no license column to choose rows by. Leave --license out, or add the"
                " column."
            )
        self._store = Store(photos) if find and photos and self._names_no_files(photos) else None
        where = self._store.fingerprint if self._store else str(photos or "")
        self.fingerprint = self._table.fingerprint(
            json.dumps([sorted((columns or {}).items()), sorted(licenses), where])
        )

    def __len__(self) -> int:
        """Rows below the header (a guide for progress: a quoted line break counts as a row)."""
        return len(self._table)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the file's order, and then the archives that break off.

        Raises SourceError.
        """
        seen = Seen()
        rows = iter(self._table)
        while block := list(islice(rows, _BLOCK)):
            found = [
                ("", row) if isinstance(row, Rejected) else (row[0], self._item(*row))
                for row in block
            ]
            items = [entry for _, entry in found if isinstance(entry, Item)]
            duplicate = iter(seen.add([item.id for item in items]))
            photos = iter(self._photos_of(items))
            for where, entry in found:
                if isinstance(entry, Item):
                    photo = next(photos)
                    if next(duplicate):
                        entry = Rejected(entry.id, f"{where}: duplicate id")
                    elif isinstance(photo, str):
                        entry = Rejected(entry.id, f"{where}: {photo}")
                    else:
                        entry = replace(entry, photo=photo)
                if entry is not None:
                    yield entry
        if self._store:
            yield from self._store.torn()

    def _names_no_files(self, photos: Path) -> bool:
        """Whether its photographs must be looked for: in archives, or in a folder where none of the first is as it is named."""
        if photos.is_file() or (photos.is_dir() and has_archives(photos)):
            return True
        names = (
            row[1]["photo"]
            for row in self._table
            if not isinstance(row, Rejected) and row[1]["photo"]
        )
        first = list(islice(names, _FIRST))
        return (
            bool(first) and photos.is_dir() and not any((photos / name).exists() for name in first)
        )

    def _photos_of(self, items: Sequence[Item]) -> Sequence[Photo | str]:
        if self._store:
            return self._store.find([str(item.photo.path) for item in items])
        return [Photo(self._photos / item.photo.path) for item in items]

    def _item(self, where: str, cell: Mapping[str, str]) -> Item | Rejected | None:
        """The row's Item; None for a row of a license that was not asked for."""
        if self._licenses and not any(
            phrase.search(_spaced(cell["license"])) for phrase in self._licenses
        ):
            return None
        identity = cell.get("id") or cell["photo"] or where
        if not cell["photo"]:
            return Rejected(identity, f"{where}: no photo is named")
        location = location_of(cell["lat"], cell["lon"])
        if isinstance(location, str):
            return Rejected(identity, f"{where}: {location}")
        return Item(
            identity,
            location,
            Photo(Path(cell["photo"])),
            *(cell.get(role, "") for role in ("label", "author", "license")),
        )


class PointsSource:
    """Rows of a CSV or Parquet file of coordinates, with or without ids and labels: what a location tower embeds.

    With `sample`, so many rows drawn at random (always the same), in the file's order. Raises
    SourceError.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, str] | None = None, sample: int | None = None
    ) -> None:
        self.path = path
        self._table = open_table(path, ("lat", "lon"), usual("lat", "lon", "id", "label"), columns)
        self._sample = sample
        choices = json.dumps([sorted((columns or {}).items()), sample])
        self.fingerprint = self._table.fingerprint(choices)

    def __len__(self) -> int:
        """Rows that will be taken (a guide for progress)."""
        return len(self._table) if self._sample is None else min(self._sample, len(self._table))

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items (the id is the row's number, from 0, where there is no id column) and Rejected, in the file's order."""
        chosen = None
        if self._sample is not None:
            total = sum(1 for _ in self._table)
            chosen = set(random.Random(0).sample(range(total), min(self._sample, total)))
        for number, row in enumerate(self._table):
            if chosen is not None and number not in chosen:
                continue
            if isinstance(row, Rejected):
                yield row
                continue
            where, cell = row
            identity = cell.get("id") or str(number)
            try:
                location = Location(float(cell["lat"]), float(cell["lon"]))
            except ValueError:
                yield Rejected(
                    identity,
                    f"{where}: no point on Earth: lat {cell['lat']!r}, lon {cell['lon']!r}",
                )
                continue
            yield Item(identity, location, label=cell.get("label", ""))


class GridSource:
    """Points spread evenly over the sphere: a Fibonacci lattice, in which each has the same area around it."""

    def __init__(self, points: int) -> None:
        if points < 1:
            raise SourceError(f"A grid of {points} points holds nothing; ask for 1 or more.")
        self.path = Path(f"grid-{points}")
        self.fingerprint = f"fibonacci-lattice-{points}"
        self._points = points

    def __len__(self) -> int:
        """Points."""
        return self._points

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items from the south to the north."""
        golden = math.pi * (3 - math.sqrt(5))
        for start in range(0, self._points, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, self._points))
            lats = np.degrees(np.arcsin(2 * (numbers + 0.5) / self._points - 1)).round(6)
            lons = (np.degrees(numbers * golden) % 360 - 180).round(6)
            for number, lat, lon in zip(
                numbers.tolist(), lats.tolist(), lons.tolist(), strict=True
            ):
                yield Item(str(number), Location(lat, lon))


class FolderSource:
    """Every photograph below a folder that carries a GPS position in its EXIF, in the order of their paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = photo_files(path)
        if not self._files:
            raise SourceError(
                f"{path} holds no photographs ({', '.join(sorted(images.SUFFIXES))})."
            )
        listing = [
            (_id(path, file), file.stat().st_size, file.stat().st_mtime_ns) for file in self._files
        ]
        self.fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def __len__(self) -> int:
        """Photographs, with or without a position."""
        return len(self._files)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the order of the files' paths."""
        for file in self._files:
            identity = _id(self.path, file)
            location = gps_of(file)
            if isinstance(location, str):
                yield Rejected(identity, location)
            else:
                yield Item(identity, location, Photo(file))


def unique(
    entries: Iterable[Item | Rejected], seen: Seen, reason: str = "duplicate id"
) -> Iterator[Item | Rejected]:
    """The entries, an item whose id was there before rejected for this reason."""
    remaining = iter(entries)
    while block := list(islice(remaining, _BLOCK)):
        there = iter(seen.add([entry.id for entry in block if isinstance(entry, Item)]))
        for entry in block:
            yield Rejected(entry.id, reason) if isinstance(entry, Item) and next(there) else entry


def photo_files(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted by path; hidden files and folders are passed over."""
    return sorted(
        file
        for file in folder.rglob("*")
        if is_photo(file)
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )


def is_photo(file: Path) -> bool:
    """Whether it is a file with the name of a photograph, and not a hidden one."""
    return (
        file.suffix.lower() in images.SUFFIXES and not file.name.startswith(".") and file.is_file()
    )


def _id(folder: Path, file: Path) -> str:
    """A file's path below a folder, as text that can be stored whatever bytes the name is made of."""
    return file.relative_to(folder).as_posix().encode("utf-8", "backslashreplace").decode()


def gps_of(file: Path) -> Location | str:
    """The position in a photograph's EXIF, or the reason why there is none."""
    try:
        gps: dict[int, Any] = images.exif_of(file).get_ifd(IFD.GPSInfo)
        if GPS.GPSLatitude not in gps or GPS.GPSLongitude not in gps:
            return "no GPS position in its EXIF"
        lat = _angle(gps[GPS.GPSLatitude], gps.get(GPS.GPSLatitudeRef, "N"))
        lon = _angle(gps[GPS.GPSLongitude], gps.get(GPS.GPSLongitudeRef, "E"))
    except UnreadablePhoto as error:
        return str(error)
    except (TypeError, ValueError, ZeroDivisionError, IndexError, KeyError, SyntaxError, OSError):
        return "its GPS position is damaged"
    return location_of(str(lat), str(lon))


def _angle(parts: Sequence[Any], hemisphere: Any) -> float:
    degrees = sum(float(part) / 60.0**place for place, part in enumerate(parts[:3]))
    letter = hemisphere.decode() if isinstance(hemisphere, bytes) else str(hemisphere)
    return -degrees if letter.strip("\0 ").upper() in ("S", "W") else degrees


def location_of(lat: str, lon: str) -> Location | str:
    """The point that two cells give, or the reason why they give none."""
    try:
        location = Location(float(lat), float(lon))
    except ValueError:
        return f"no point on Earth: lat {lat!r}, lon {lon!r}"
    if location == Location(0.0, 0.0):
        return "0, 0 is a placeholder for an unknown position"
    return location


def _spaced(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text)


def _words(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(_spaced(phrase.strip()))}(?!\w)", re.IGNORECASE)
