"""A CSV, or a folder of geotagged photos → a stream of Items; what cannot be used comes out as Rejected, never silently."""

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL.ExifTags import GPS, IFD

from img2loc import images
from img2loc.errors import SourceError, UnreadablePhoto
from img2loc.types import Item, Location, Photo, Rejected

# The names under which the field's files carry each column, lower case.
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "photo": (
        *("file", "filename", "file_name", "filepath", "img_id", "img_file", "img_path", "name"),
        *("image", "image_id", "image_path", "image_file", "path", "photo"),
    ),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "id": ("id",),
    "label": ("label", "title", "caption"),
    "author": ("author", "ownernsid", "owner", "user_id", "photographer"),
    "licence": ("licence", "license"),
}
_REQUIRED = ("photo", "lat", "lon")


class CsvSource:
    """Rows of a CSV (comma, semicolon or tab) that name photographs and their coordinates.

    Columns are found by their usual names; `columns` ({"photo": "IMG_ID"}) settles an ambiguity, which is otherwise
    refused. Photographs lie relative to `photos`, or to the CSV's folder. With `licences` only rows whose licence
    holds one of these phrases as whole words are taken. Raises SourceError.
    """

    def __init__(
        self,
        path: Path,
        photos: Path | None = None,
        columns: Mapping[str, str] | None = None,
        licences: Sequence[str] = (),
    ) -> None:
        self.path = path
        self._photos = photos or path.parent
        self._licences = [_words(phrase) for phrase in licences]
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}. Name a CSV file or a folder.") from error
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
        self._text = text.lstrip("\r\n")
        self._delimiter, self._columns = self._layout(columns)
        if self._licences and "licence" not in self._columns:
            raise SourceError(f"{path} has no licence column to choose rows by. Leave --licence out, or add the column.")
        choices = json.dumps([sorted((columns or {}).items()), sorted(licences), str(photos or "")])
        self.fingerprint = hashlib.sha256(content + choices.encode()).hexdigest()

    def __len__(self) -> int:
        """Rows below the header (a guide for progress: a quoted line break counts as a row)."""
        return max(0, self._text.rstrip().count("\n"))

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the file's order."""
        seen: set[str] = set()
        reader = self._reader(self._delimiter)
        try:
            for row in reader:
                item = self._item(row, reader.line_num)
                if isinstance(item, Item):
                    if item.id in seen:
                        item = Rejected(item.id, f"line {reader.line_num}: duplicate id")
                    else:
                        seen.add(item.id)
                if item is not None:
                    yield item
        except csv.Error as error:
            raise SourceError(f"{self.path}, line {reader.line_num}: {error}. Mend the CSV there.") from error

    def _reader(self, delimiter: str) -> "csv.DictReader[str]":
        return csv.DictReader(io.StringIO(self._text, newline=""), delimiter=delimiter, strict=True)

    def _layout(self, columns: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
        """The delimiter under which the header has the columns that are needed, and those columns."""
        first: SourceError | None = None
        for delimiter in sorted(",;\t", key=self._text[:2000].count, reverse=True):
            try:
                return delimiter, _find_columns(self.path, self._reader(delimiter).fieldnames or [], columns)
            except csv.Error as error:
                first = first or SourceError(f"{self.path}: its header cannot be read ({error}). Mend the CSV there.")
            except SourceError as error:
                first = first or error
        assert first is not None
        raise first

    def _item(self, row: Mapping[str, str | None], line: int) -> Item | Rejected | None:
        """The row's Item; None for a row of a licence that was not asked for."""
        if row.get(None) is not None:  # type: ignore[call-overload]
            return Rejected(f"line {line}", f"line {line}: more cells than columns")
        cell = {role: (row.get(column) or "").strip() for role, column in self._columns.items()}
        if self._licences and not any(phrase.search(_spaced(cell["licence"])) for phrase in self._licences):
            return None
        identity = cell.get("id") or cell["photo"] or f"line {line}"
        if not cell["photo"]:
            return Rejected(identity, f"line {line}: no photo is named")
        location = _location(cell["lat"], cell["lon"])
        if isinstance(location, str):
            return Rejected(identity, f"line {line}: {location}")
        photo = Photo(self._photos / cell["photo"])
        return Item(identity, location, photo, *(cell.get(role, "") for role in ("label", "author", "licence")))


class FolderSource:
    """Every photograph below a folder that carries a GPS position in its EXIF, in the order of their paths."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = photo_files(path)
        if not self._files:
            raise SourceError(f"{path} holds no photographs ({', '.join(sorted(images.SUFFIXES))}).")
        listing = [(_id(path, file), file.stat().st_size, file.stat().st_mtime_ns) for file in self._files]
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


Source = CsvSource | FolderSource


def open_source(
    path: Path,
    photos: Path | None = None,
    columns: Mapping[str, str] | None = None,
    licences: Sequence[str] = (),
) -> Source:
    """The source at a path: a folder of geotagged photographs, or a CSV. Raises SourceError."""
    if path.is_dir():
        if photos or columns or licences:
            raise SourceError(f"{path} is a folder: photos, columns and licences belong to a CSV. Leave them out.")
        return FolderSource(path)
    return CsvSource(path, photos, columns, licences)


def photo_files(folder: Path) -> list[Path]:
    """Every image file below a folder, sorted by path; hidden files and folders are passed over."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in images.SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
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
    return _location(str(lat), str(lon))


def _angle(parts: Sequence[Any], hemisphere: Any) -> float:
    degrees = sum(float(part) / 60.0**place for place, part in enumerate(parts[:3]))
    letter = hemisphere.decode() if isinstance(hemisphere, bytes) else str(hemisphere)
    return -degrees if letter.strip("\0 ").upper() in ("S", "W") else degrees


def _location(lat: str, lon: str) -> Location | str:
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


def _find_columns(path: Path, header: Sequence[str], chosen: Mapping[str, str] | None) -> dict[str, str]:
    """Role → the column's name in this file."""
    found: dict[str, str] = {}
    for role, column in (chosen or {}).items():
        if role not in COLUMN_NAMES:
            raise SourceError(f"There is no column role {role!r}. Known: {', '.join(COLUMN_NAMES)}.")
        if column not in header:
            raise SourceError(f"{path} has no column {column!r}. It has: {', '.join(header)}.")
        found[role] = column
    for role, names in COLUMN_NAMES.items():
        matches = [column for column in header if column.strip().lower() in names and column not in found.values()]
        if role in found or not matches:
            continue
        if len(matches) > 1:
            raise SourceError(
                f"{path} has {len(matches)} columns for the {role}: {', '.join(matches)}. "
                f"Rename all but one, or choose with columns.{role} in a recipe."
            )
        found[role] = matches[0]
    for role in _REQUIRED:
        if role not in found:
            raise SourceError(
                f"{path} has no column for the {role}: none of {', '.join(COLUMN_NAMES[role])}. It has: {', '.join(header)}."
            )
    return found
