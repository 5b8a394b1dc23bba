"""A folder of photographs, loose or in archives → the photograph that a row of a table names."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from img2loc import identity, images
from img2loc.archives import find_archives
from img2loc.errors import SourceError
from img2loc.identity import Hashes, hashed
from img2loc.types import NOT_A_PHOTO, Photo, Rejected

_DEEPEST = 4
_Naming = Callable[[str], str]


class Store:
    """Photographs by name, where the table does not say in which folder or archive each lies.

    A name is compared without its suffix, with folders and underscores alike, and with the folders above it or without: whichever
    way finds the most of the first names asked for. If none finds half of them, Flickr's number in the name is compared as well.
    A photograph takes 16 bytes of memory, loose ones their name besides. Raises SourceError for a place without photographs.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self._archives = find_archives(place)
        self._loose = [] if self._archives else list(_image_files(place))
        self._counts = [len(archive) for archive in self._archives] or [len(self._loose)]
        if not sum(self._counts):
            raise SourceError(f"{place} holds no photographs, neither loose nor in tar or zip files.{self._torn_note()}")
        self._naming: _Naming | None = None
        self._keys: Hashes = np.empty(0, np.uint64)
        self._order: NDArray[np.int64] = np.empty(0, np.int64)
        digest = hashlib.sha256()
        for archive in self._archives:
            digest.update(archive.digest())
        for name in self._loose:
            digest.update(f"{name}\n".encode("utf-8", "backslashreplace"))
        self.fingerprint = digest.hexdigest()

    def find(self, names: Sequence[str]) -> list[Photo | None]:
        """The photograph of each name, read when it is needed; None where there is none. Raises SourceError."""
        if self._naming is None:
            self._naming = self._settle(names)
        asked = hashed(map(identity.key if self._naming is identity.key else identity.bare_name, names))
        return [self._photo(int(row)) if row >= 0 else None for row in self._rows(asked)]

    def torn(self) -> list[Rejected]:
        """The archives that break off, and where."""
        return [Rejected(archive.volume.name, archive.torn) for archive in self._archives if archive.torn]

    def _settle(self, names: Sequence[str]) -> _Naming:
        """Choose how members are named, and sort them by it."""
        found: dict[_Naming, int] = {}
        by_folders: list[_Naming] = [partial(_last, parts=parts) for parts in range(1, _DEEPEST + 1)]
        for naming in [*by_folders, identity.key]:
            self._sort(naming)
            asked = hashed(map(identity.key if naming is identity.key else identity.bare_name, names))
            found[naming] = int((self._rows(asked) >= 0).sum())
            if 2 * found[naming] >= len(names):
                return naming
        best = max(found, key=lambda naming: found[naming])
        self._sort(best)
        return best

    def _sort(self, naming: _Naming) -> None:
        keys = hashed(map(naming, self._names()))
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]

    def _rows(self, asked: Hashes) -> NDArray[np.int64]:
        at = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        return np.where(self._keys[at] == asked, self._order[at], -1)

    def _names(self) -> Iterator[str]:
        for archive in self._archives:
            yield from archive.names()
        yield from self._loose

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


def _last(name: str, parts: int) -> str:
    return identity.bare_name("/".join(name.split("/")[-parts:]))
