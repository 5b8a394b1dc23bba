"""A folder of geotagged photographs → Items."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from img2loc.core import images
from img2loc.core.errors import SourceError
from img2loc.core.exif import gps_of
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.items import location_of


class FolderSource:
    """Every photograph below a folder that has a GPS position in its EXIF, sorted by path."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = photo_files(path)
        if not self._files:
            raise SourceError(
                f"{path} holds no photographs ({', '.join(sorted(images.SUFFIXES))})."
            )
        facts = [(self._id(file), file.stat()) for file in self._files]
        listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in facts]
        self.fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()

    def __len__(self) -> int:
        """Photographs, with or without a position."""
        return len(self._files)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected, sorted by path."""
        for file in self._files:
            position = gps_of(file)
            location = position if isinstance(position, str) else location_of(*position)
            if isinstance(location, str):
                yield Rejected(self._id(file), location)
            else:
                yield Item(self._id(file), location, Photo(file))

    def _id(self, file: Path) -> str:
        """The path below the folder, as text that can be stored whatever bytes the name has."""
        name = file.relative_to(self.path).as_posix()
        return name.encode("utf-8", "backslashreplace").decode()


def photo_files(folder: Path) -> list[Path]:
    """Every photograph below a folder, sorted by path; hidden files and folders are skipped."""
    return sorted(file for file in map(folder.joinpath, photo_paths(folder)) if file.is_file())


def photo_paths(folder: Path) -> Iterator[str]:
    """The path below a folder of everything named as a photograph, in a fixed order."""
    for base, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = Path(base).relative_to(folder)
        yield from ((inside / name).as_posix() for name in sorted(files) if is_photo(name))


def is_photo(name: str) -> bool:
    """Whether a file's name is that of a photograph, and not hidden."""
    return not name.startswith(".") and PurePosixPath(name).suffix.lower() in images.SUFFIXES
