"""A CSV or Parquet file that names photographs and their coordinates → Items."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.archives import has_archives
from img2loc.data.items import BLOCK, item_of
from img2loc.data.photo_names import SeenIds
from img2loc.data.photo_store import Store
from img2loc.data.tables import COLUMN_NAMES, PHOTO_ROLES, open_table

_FIRST = 64
"""Rows that decide whether photographs lie where the table says."""


class CsvSource:
    """Rows of a CSV (comma, semicolon or tab) or Parquet file: photographs with coordinates.

    Columns are those of `open_table`; where none has a known name for the photographs, the first
    of `photo_names` that exists. Photographs lie relative to `photos`, or to the file's folder.
    Where `photos` is an archive or a folder of archives, or has none of the first rows' photographs
    at its path, they are looked up by name in a `Store`; without `find`, never. With `licenses`,
    only rows whose license contains one of these phrases as whole words are taken. Raises
    SourceError.
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
        self._license_phrases = tuple(licenses)
        self._licenses = [_whole_words(phrase) for phrase in licenses]
        roles = {
            **PHOTO_ROLES,
            "photo": (COLUMN_NAMES["photo"], *((name,) for name in photo_names)),
        }
        self._table = open_table(path, ("photo", "lat", "lon"), roles, columns)
        if self._licenses and "license" not in self._table.columns:
            raise SourceError(
                f"{path} has no license column to choose rows by. Omit --license, or add one."
            )
        self._store = Store(photos) if find and photos and self._needs_lookup(photos) else None
        where = self._store.fingerprint if self._store else str(photos or "")
        self.fingerprint = self._table.fingerprint(
            json.dumps([sorted((columns or {}).items()), sorted(licenses), where])
        )

    def __len__(self) -> int:
        """Rows below the header (a guide for progress: a quoted line break counts as a row)."""
        return len(self._table)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the file's order, then the archives that are truncated.

        Raises SourceError.
        """
        seen, any_taken = SeenIds(), False
        rows = iter(self._table)
        while block := list(islice(rows, BLOCK)):
            entries = [
                ("", row) if isinstance(row, Rejected) else (row[0], self._item(*row))
                for row in block
            ]
            items = [entry for _, entry in entries if isinstance(entry, Item)]
            duplicate = iter(seen.add([item.id for item in items]))
            photos = iter(self._photos_of(items))
            for where, entry in entries:
                if isinstance(entry, Item):
                    photo = next(photos)
                    if next(duplicate):
                        entry = Rejected(entry.id, f"{where}: duplicate id")
                    elif isinstance(photo, str):
                        entry = Rejected(entry.id, f"{where}: {photo}")
                    else:
                        entry = replace(entry, photo=photo)
                if entry is not None:
                    any_taken = True
                    yield entry
        if self._license_phrases and not any_taken:
            phrases = " or ".join(map(repr, self._license_phrases))
            yield Rejected(str(self.path), f"no row has a license with {phrases}")
        if self._store:
            yield from self._store.truncated()

    def _needs_lookup(self, photos: Path) -> bool:
        """Whether photographs are in archives, or none of the first is where the table says."""
        if photos.is_file() or (photos.is_dir() and has_archives(photos)):
            return True
        rows = (row[1]["photo"] for row in self._table if not isinstance(row, Rejected))
        names = list(islice(filter(None, rows), _FIRST))
        return bool(names) and photos.is_dir() and not any((photos / n).exists() for n in names)

    def _photos_of(self, items: Sequence[Item]) -> Sequence[Photo | str]:
        if self._store:
            return self._store.find([str(item.photo.path) for item in items])
        return [Photo(self._photos / item.photo.path) for item in items]

    def _item(self, where: str, cells: Mapping[str, str]) -> Item | Rejected | None:
        """The row's Item; None for a row of another license."""
        if self._licenses and not any(
            phrase.search(_spaced(cells["license"])) for phrase in self._licenses
        ):
            return None
        item_id = cells.get("id") or cells["photo"] or where
        if not cells["photo"]:
            return Rejected(item_id, f"{where}: no photo is named")
        return item_of(item_id, cells, Photo(Path(cells["photo"])), f"{where}: ")


def _spaced(text: str) -> str:
    return re.sub(r"[\s_-]+", " ", text)


def _whole_words(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(_spaced(phrase.strip()))}(?!\w)", re.IGNORECASE)
