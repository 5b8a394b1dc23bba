"""A folder of photographs, loose or in archives → the photograph that a row of a table names."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from img2loc.core import images
from img2loc.core.errors import SourceError
from img2loc.core.types import NOT_A_PHOTO, Photo, Rejected
from img2loc.data import photo_names
from img2loc.data.archives import Member, find_archives
from img2loc.data.photo_names import Hashes, hashed

DEEPEST = 4
"""Parts of a path, its folders and its name, that are compared where only a part of it need be the same."""
_COPIES = 8
MISSING = "not among the photographs"
_SEVERAL = "several photographs have this name: name its folder too"
_Naming = Callable[[str], str]
_Sorted = tuple[Hashes, NDArray[np.int64]]


class Store:
    """Photographs by name, where the table does not say in which folder or archive each lies.

    A name is compared without its suffix, with folders and underscores alike, and with the folders
    above it or without, in the table and in the archive: whichever way finds the most of the first
    names of which any is found. If comparing whole names of the table finds not half of them,
    Flickr's number in the name is compared as well. A photograph takes 16 bytes of memory (as often
    as there are ways, until one is chosen), loose ones their name besides. Raises SourceError for a
    place without photographs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._archives = find_archives(place)
        self._loose = [] if self._archives else list(_image_files(place))
        self._counts = [len(archive) for archive in self._archives] or [len(self._loose)]
        if not any(map(_may_be_photo, self._names())):
            raise SourceError(
                f"{place} holds no photographs, neither loose nor in tar or zip"
                f" files.{self._torn_note()}"
            )
        self._tables: dict[_Naming, _Sorted] = {}
        self._chosen: tuple[_Naming, _Naming] | None = None
        digest = hashlib.sha256()
        for archive in self._archives:
            digest.update(archive.digest())
        for name in self._loose:
            digest.update(f"{name}\n".encode("utf-8", "backslashreplace"))
        self.fingerprint = digest.hexdigest()

    def find(self, names: Sequence[str]) -> list[Photo | str]:
        """The photograph of each name, read when it is needed; else the reason why there is none.

        Raises SourceError.
        """
        ways = self._chosen or self._settle(names)
        return [
            self._photo(int(row)) if row >= 0 else _SEVERAL if row == -2 else MISSING
            for row in self._rows(names, *ways)
        ]

    def torn(self) -> list[Rejected]:
        """The archives that break off, and where."""
        return [
            Rejected(archive.volume.name, archive.torn)
            for archive in self._archives
            if archive.torn
        ]

    def _settle(self, names: Sequence[str]) -> tuple[_Naming, _Naming]:
        """How members are named and how the table's names are read; for good as soon as one of them is found."""
        most, best = 0, _WAYS[0]
        for ways in _WAYS:
            found = len(np.unique([row for row in self._rows(names, *ways) if row >= 0]))
            if found > most:
                most, best = found, ways
            if names and 2 * found >= len(names):
                break
        if most:
            self._chosen, self._tables = best, {best[0]: self._tables[best[0]]}
        return best

    def _rows(self, names: Sequence[str], members: _Naming, asked: _Naming) -> NDArray[np.int64]:
        """The member of each name; -1 for none, -2 where there are several that are not alike."""
        if members not in self._tables:
            rows = np.fromiter(
                (row for row, name in enumerate(self._names()) if _may_be_photo(name)), np.int64
            )
            keys = hashed(members(name) for name in self._names() if _may_be_photo(name))
            order = np.argsort(keys, kind="stable")
            self._tables[members] = keys[order], rows[order]
        keys, order = self._tables[members]
        wanted = hashed(map(asked, names))
        at, end = (np.searchsorted(keys, wanted, side) for side in ("left", "right"))
        found = np.where(end > at, order[np.minimum(at, len(keys) - 1)], -1)
        for place in np.flatnonzero(end - at > 1):
            copies = order[at[place] : end[place]]
            if len(copies) > _COPIES or len({self._size(int(row)) for row in copies}) > 1:
                found[place] = -2
        return found

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
        for archive, count in zip(self._archives, self._counts, strict=True):
            if row < count:
                name, member = archive.member(row)
                return Photo(archive.volume.paths[0] / name, member)
            row -= count
        return NOT_A_PHOTO

    def _torn_note(self) -> str:
        return "".join(f" {entry.reason}." for entry in self.torn())


def _image_files(folder: Path) -> Iterator[str]:
    """Every image file below a folder, by its path in it, in a fixed order; hidden ones are passed over."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(base).relative_to(folder)
        for name in sorted(files):
            if not name.startswith(".") and PurePosixPath(name).suffix.lower() in images.SUFFIXES:
                yield (inside / name).as_posix()


def _may_be_photo(name: str) -> bool:
    """Whether it is named as one, or without a suffix."""
    suffix = photo_names.suffix(name)
    return not suffix or suffix.lower() in images.SUFFIXES


_LAST: list[_Naming] = [partial(photo_names.ending, parts=parts) for parts in range(1, DEEPEST + 1)]
_WAYS: list[tuple[_Naming, _Naming]] = [
    *((members, photo_names.bare_name) for members in (*_LAST, photo_names.bare_name)),
    (photo_names.key, photo_names.key),
    *((last, last) for last in reversed(_LAST)),
]
