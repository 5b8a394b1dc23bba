"""WebDataset archives, tar or zip files with KEY.jpg and KEY.json → Items."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from pathlib import Path, PurePosixPath

from img2loc.core import images
from img2loc.core.errors import SourceError, UnreadablePhoto
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.archives import Archive, find_archives
from img2loc.data.items import item_of, unique
from img2loc.data.photo_names import SeenIds
from img2loc.data.tables import COLUMN_NAMES, check_roles


class WebDatasetSource:
    """The photographs of an archive, or of a folder's archives, each with the JSON of its key.

    JSON fields are matched as a table's columns are (`COLUMN_NAMES`), or by `columns`; the id is
    the field "id", else the key. Raises SourceError.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None) -> None:
        self.path = path
        self._columns = dict(columns or {})
        check_roles(self._columns)
        self._archives = find_archives(path)
        if not self._archives:
            raise SourceError(f"{path} holds no tar or zip files.")
        if not any(map(len, self._archives)):
            damage = ". ".join(archive.damage for archive in self._archives if archive.damage)
            raise SourceError(f"{path} holds no files. {damage}")
        content = [archive.digest().hex() for archive in self._archives]
        choices = json.dumps([content, sorted(self._columns.items())])
        self.fingerprint = hashlib.sha256(choices.encode()).hexdigest()

    def __len__(self) -> int:
        """About how many photographs: half the files."""
        return sum(len(archive) for archive in self._archives) // 2

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the archives' order, where one is truncated last.

        Raises SourceError.
        """
        entries = (entry for archive in self._archives for entry in self._entries(archive))
        yield from unique(entries, SeenIds())

    def _entries(self, archive: Archive) -> Iterator[Item | Rejected]:
        for key, group in groupby(enumerate(archive.names()), lambda entry: _key(entry[1])):
            files = [(number, name, PurePosixPath(name).suffix.lower()) for number, name in group]
            photos = [(number, name) for number, name, suffix in files if suffix in images.SUFFIXES]
            exact = [(number, name) for number, name in photos if name.rpartition(".")[0] == key]
            if not photos:
                continue
            number, name = (exact or photos)[0]
            json_file = next((number for number, _, suffix in files if suffix == ".json"), None)
            if json_file is None:
                yield Rejected(key, "no .json beside it")
            else:
                photo = Photo(archive.file.paths[0] / name, archive.member(number)[1])
                yield self._item(key, archive.member(json_file)[1], photo)
            for _, other in exact[1:] or (() if exact else photos[1:]):
                yield Rejected(
                    other,
                    f"a second photograph of the key {key}: what follows the first dot of a name is"
                    " not part of its key",
                )
        if archive.damage:
            yield Rejected(archive.file.name, archive.damage)

    def _item(self, key: str, read_json: Callable[[], bytes], photo: Photo) -> Item | Rejected:
        try:
            fields = self._by_role(json.loads(read_json()))
            cells = {role: _text(value) for role, value in fields.items() if value is not None}
        except (ValueError, AttributeError, RecursionError, UnreadablePhoto):
            return Rejected(key, "its .json cannot be read")
        item_id = cells.get("id") or key
        if "lat" not in cells or "lon" not in cells:
            return Rejected(item_id, "no lat and lon in its .json")
        return item_of(item_id, cells, photo)

    def _by_role(self, fields: Mapping[str, object]) -> dict[str, object]:
        """Role → value; of several fields for a role, the first in `COLUMN_NAMES`."""
        lower = {name.lower(): value for name, value in fields.items()}
        known = {
            role: next(lower[name] for name in names if name in lower)
            for role, names in COLUMN_NAMES.items()
            if any(name in lower for name in names)
        }
        return known | {role: fields.get(name) for role, name in self._columns.items()}


def _text(value: object) -> str:
    """A value as text that UTF-8 can hold: a caption that was cut may end in half a character."""
    return str(value).encode("utf-8", "replace").decode()


def _key(name: str) -> str:
    """A name up to the first dot of its last part, as WebDataset groups files."""
    folder, slash, last = name.rpartition("/")
    return folder + slash + last.partition(".")[0]
