"""A folder of photographs, loose or in archives → the photograph that a row of a table names."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2loc.core import images
from img2loc.core.errors import SourceError
from img2loc.core.types import NOT_A_PHOTO, Photo, Rejected
from img2loc.data import photo_names
from img2loc.data.archives import Member, find_archives
from img2loc.data.folder import photo_paths
from img2loc.data.photo_names import Hashes, hashed

DEEPEST = 4
"""Last parts of a path, folders and file name, that are compared at most."""
_MOST_COPIES = 8
MISSING = "not among the photographs"
_AMBIGUOUS = "several photographs have this name: name its folder too"
_Key = Callable[[str], str]


class Store:
    """Photographs by name, where the table does not say in which folder or archive each lies.

    Names are compared without suffix, "/" and "_" alike, with or without the folders above, in the
    table and in the store: in the way that finds the most of the first names. If whole names of the
    table find less than half of them, Flickr ids in the names are compared as well. Takes 16 bytes
    of memory a photograph (for each way, until one is chosen), and the names of loose ones. Raises
    SourceError for a place without photographs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._archives = find_archives(place)
        self._loose = [] if self._archives else list(photo_paths(place))
        if not any(map(_may_be_photo, self._names())):
            notes = "".join(f" {entry.reason}." for entry in self.truncated())
            raise SourceError(
                f"{place} holds no photographs, neither loose nor in tar or zip files.{notes}"
            )
        self._tables: dict[_Key, tuple[Hashes, NDArray[np.int64]]] = {}
        self._chosen: tuple[_Key, _Key] | None = None
        digest = hashlib.sha256()
        for archive in self._archives:
            digest.update(archive.digest())
        for name in self._loose:
            digest.update(f"{name}\n".encode("utf-8", "backslashreplace"))
        self.fingerprint = digest.hexdigest()

    def find(self, names: Sequence[str]) -> list[Photo | str]:
        """The photograph of each name, read when needed; else the reason why there is none.

        Raises SourceError.
        """
        keys = self._chosen or self._choose(names)
        return [
            self._photo(int(row)) if row >= 0 else _AMBIGUOUS if row == -2 else MISSING
            for row in self._rows(names, *keys)
        ]

    def truncated(self) -> list[Rejected]:
        """The archives that are truncated or damaged, and where."""
        return [
            Rejected(archive.file.name, archive.damage)
            for archive in self._archives
            if archive.damage
        ]

    def _choose(self, names: Sequence[str]) -> tuple[_Key, _Key]:
        """The keys by which the most names match; kept from the first match on."""
        most, best = 0, _KEYS[0]
        for keys in _KEYS:
            matches = len(np.unique([row for row in self._rows(names, *keys) if row >= 0]))
            if matches > most:
                most, best = matches, keys
            if names and 2 * matches >= len(names):
                break
        if most:
            self._chosen, self._tables = best, {best[0]: self._tables[best[0]]}
        return best

    def _rows(self, names: Sequence[str], stored: _Key, asked: _Key) -> NDArray[np.int64]:
        """The row of each name; -1 for none, -2 for several that are not copies."""
        if stored not in self._tables:
            numbers = (row for row, name in enumerate(self._names()) if _may_be_photo(name))
            rows = np.fromiter(numbers, np.int64)
            keys = hashed(stored(name) for name in self._names() if _may_be_photo(name))
            order = np.argsort(keys, kind="stable")
            self._tables[stored] = keys[order], rows[order]
        keys, rows = self._tables[stored]
        wanted = hashed(map(asked, names))
        start, end = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
        matches = np.where(end > start, rows[np.minimum(start, len(keys) - 1)], -1)
        for number in np.flatnonzero(end - start > 1):
            same = rows[start[number] : end[number]]
            if len(same) > _MOST_COPIES or len({self._size(int(row)) for row in same}) > 1:
                matches[number] = -2
        return matches

    def _names(self) -> Iterator[str]:
        for archive in self._archives:
            yield from archive.names()
        yield from self._loose

    def _size(self, row: int) -> int:
        photo = self._photo(row)
        return photo.data.size if isinstance(photo.data, Member) else photo.path.stat().st_size

    def _photo(self, row: int) -> Photo:
        if not self._archives:
            return Photo(self.place / self._loose[row])
        for archive in self._archives:
            if row < len(archive):
                name, member = archive.member(row)
                return Photo(archive.file.paths[0] / name, member)
            row -= len(archive)
        return NOT_A_PHOTO


def _may_be_photo(name: str) -> bool:
    """Whether it is named as one, or without a suffix."""
    suffix = photo_names.suffix(name)
    return not suffix or suffix.lower() in images.SUFFIXES


_LAST: list[_Key] = [partial(photo_names.ending, parts=parts) for parts in range(1, DEEPEST + 1)]
_KEYS: list[tuple[_Key, _Key]] = [
    *((stored, photo_names.bare_name) for stored in (*_LAST, photo_names.bare_name)),
    (photo_names.key, photo_names.key),
    *((last, last) for last in reversed(_LAST)),
]
"""How names are compared, first to last: the key of the store's names, and of the table's."""
