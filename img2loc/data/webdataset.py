"""WebDataset's pairs in tar or zip files, KEY.jpg with KEY.json beside it → Items."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath

from img2loc.core import images
from img2loc.core.errors import SourceError, UnreadablePhoto
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.archives import Archive, find_archives
from img2loc.data.csv_source import location_of, unique
from img2loc.data.photo_names import Seen
from img2loc.data.tables import COLUMN_NAMES


class PairsSource:
    """The photographs of an archive, or of all that lie in a folder, with what the JSON of the same key says of each.

    Its fields are found by the usual names of columns (tables.COLUMN_NAMES), or by `columns`; the
    id is the field "id", else the key. Raises SourceError.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._columns = dict(columns or {})
        if unknown := sorted(set(self._columns) - set(COLUMN_NAMES)):
            raise SourceError(
                f"There is no column role {unknown[0]!r}. Known: {', '.join(COLUMN_NAMES)}."
            )
        self._archives = find_archives(path)
        if not self._archives:
            raise SourceError(f"{path} holds no tar or zip files.")
        if not any(map(len, self._archives)):
            raise SourceError(
                f"{path} holds nothing."
                f" {'. '.join(archive.torn for archive in self._archives if archive.torn)}"
            )
        content = [archive.digest().hex() for archive in self._archives]
        self.fingerprint = hashlib.sha256(
            json.dumps([content, sorted(self._columns.items())]).encode()
        ).hexdigest()

    def __len__(self) -> int:
        """Photographs, taking each to be one of a pair."""
        return sum(len(archive) for archive in self._archives) // 2

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the archives' order, each archive's end last where it breaks off.

        Raises SourceError.
        """
        yield from unique(
            (entry for archive in self._archives for entry in self._entries(archive)), Seen()
        )

    def _entries(self, archive: Archive) -> Iterator[Item | Rejected]:
        for key, group in groupby(enumerate(archive.names()), lambda entry: _key(entry[1])):
            files = [(number, name, PurePosixPath(name).suffix.lower()) for number, name in group]
            photos = [(number, name) for number, name, suffix in files if suffix in images.SUFFIXES]
            own = [(number, name) for number, name in photos if name.rpartition(".")[0] == key]
            if not photos:
                continue
            number, name = (own or photos)[0]
            described = next((number for number, _, suffix in files if suffix == ".json"), None)
            if described is None:
                yield Rejected(key, "no .json beside it")
            else:
                photo = Photo(archive.volume.paths[0] / name, archive.member(number)[1])
                yield self._item(key, archive.member(described)[1], photo)
            for _, other in own[1:] or (() if own else photos[1:]):
                yield Rejected(
                    other,
                    f"a second photograph of the key {key}: what is after a name's first dot is not"
                    " told apart",
                )
        if archive.torn:
            yield Rejected(archive.volume.name, archive.torn)

    def _item(self, key: str, description: Callable[[], bytes], photo: Photo) -> Item | Rejected:
        try:
            fields = json.loads(description())
            cells = {
                role: _text(value)
                for role, value in self._cells(fields).items()
                if value is not None
            }
        except (ValueError, AttributeError, RecursionError, UnreadablePhoto):
            return Rejected(key, "its .json cannot be read")
        identity = cells.get("id") or key
        if "lat" not in cells or "lon" not in cells:
            return Rejected(identity, "no lat and lon in its .json")
        location = location_of(cells["lat"], cells["lon"])
        if isinstance(location, str):
            return Rejected(identity, location)
        return Item(
            identity,
            location,
            photo,
            *(cells.get(role, "") for role in ("label", "author", "license")),
        )

    def _cells(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Role → value; of several names for a role the first in our list counts."""
        lower = {name.lower(): value for name, value in fields.items()}
        usual = {
            role: next(lower[name] for name in names if name in lower)
            for role, names in COLUMN_NAMES.items()
            if any(name in lower for name in names)
        }
        return usual | {role: fields.get(name) for role, name in self._columns.items()}


def _text(value: object) -> str:
    # JSON may hold half a character, as where a caption was cut off; no file of ours can.
    return str(value).encode("utf-8", "replace").decode()


def _key(name: str) -> str:
    """A name up to the first dot of its last part, as WebDataset groups files."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]
