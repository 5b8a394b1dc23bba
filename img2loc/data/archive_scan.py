"""Tar and zip files, whole or in numbered parts → a list of what lies in each, by one scan."""

import io
import re
import struct
import tarfile
import zipfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from img2loc.core.errors import SourceError

PLAIN, ZIP_STORED, ZIP_DEFLATED = range(3)
"""How a file lies in its archive: plain, or behind a zip's header, stored or deflated."""
_ZIP_KINDS = {zipfile.ZIP_STORED: ZIP_STORED, zipfile.ZIP_DEFLATED: ZIP_DEFLATED}
_PART = re.compile(r"(?P<stem>.*?[^0-9])(?P<number>\d{2,})$")
_REMEDY = "Put it back, and run the same command again: what is done is kept."
_DAMAGED = (ValueError, OverflowError, IndexError, struct.error, NotImplementedError)
"""What Python's archive readers raise on damaged files besides their own errors."""
Row = tuple[str, int, int, int]
"""Name, offset, size and kind."""


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive's file, or its parts in their order, read as one."""

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """The file's name, or the first and the last part's."""
        return " to ".join(dict.fromkeys((self.paths[0].name, self.paths[-1].name)))

    @property
    def size(self) -> int:
        """Bytes of all parts."""
        return sum(self.sizes)

    def read(self, offset: int, size: int) -> bytes:
        """The bytes there.

        Raises SourceError where they are gone: no photograph's fault, so the work stops.
        """
        chunks = []
        for path, length in zip(self.paths, self.sizes, strict=True):
            if size and offset < length:
                count = min(size, length - offset)
                chunks.append(_read(path, offset, count))
                size, offset = size - count, 0
            else:
                offset -= length
        return b"".join(chunks)


def archives_among(files: Sequence[Path]) -> Iterator[ArchiveFile]:
    """The archives among files sorted by name, each with its parts."""
    parts: list[Path] = []
    for file in files:
        if file.suffix.lower() in (".tar", ".zip"):
            yield from _joined(parts)
            yield from _joined([file])
            parts = []
        elif _PART.match(file.name):
            if _begins_a_tar(file):
                yield from _joined(parts)
                parts = [file]
            elif parts and _follows(parts[-1], file):
                parts.append(file)
    yield from _joined(parts)


def _joined(parts: Sequence[Path]) -> Iterator[ArchiveFile]:
    if parts:
        yield ArchiveFile(tuple(parts), tuple(part.stat().st_size for part in parts))


def _follows(before: Path, file: Path) -> bool:
    one, two = _PART.match(before.name), _PART.match(file.name)
    return bool(
        one and two and one["stem"] == two["stem"] and int(one["number"]) + 1 == int(two["number"])
    )


def _begins_a_tar(file: Path) -> bool:
    with file.open("rb") as opened:
        try:
            tarfile.TarInfo.frombuf(opened.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return False
    return True


def _read(path: Path, offset: int, size: int) -> bytes:
    try:
        with path.open("rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(size)
    except OSError as error:
        raise _gone(path, error) from error
    if len(content) < size:
        raise SourceError(f"{path} has become shorter. {_REMEDY}")
    return content


def _gone(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read any more ({error.strerror or error}). {_REMEDY}")


class TarScan:
    """The regular files of a tar; `damage` is known after the iteration."""

    def __init__(self, file: ArchiveFile) -> None:
        self._file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Row]:
        count, size = 0, self._file.size
        try:
            stream = _Stream(self._file)
            with tarfile.open(fileobj=stream, mode="r:", errors="backslashreplace") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # Else all stay in memory.
                    if member.size < 0 or member.offset_data + member.size > size:
                        break
                    if member.isreg():
                        count += 1
                        yield member.name.removeprefix("./"), member.offset_data, member.size, PLAIN
                end = tar.offset if member is None else member.offset
        except (tarfile.TarError, *_DAMAGED):
            end = min(stream.tell(), size) if count else 0
            member = None
        except OSError as error:
            raise _gone(self._file.paths[0], error) from error
        stream.seek(end)
        if member is not None or stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            self.damage = (
                f"{self._file.name} breaks off at byte {end:,}: the {count:,} files before that are"
                " used"
            )
            if not count:
                self.damage += ", and it may be empty, compressed or no tar file"


class ZipScan:
    """The files of a zip; `damage` is known after the iteration."""

    def __init__(self, file: ArchiveFile) -> None:
        self._file = file
        self.damage = ""

    def __iter__(self) -> Iterator[Row]:
        try:
            with zipfile.ZipFile(self._file.paths[0]) as opened:
                for entry in opened.infolist():
                    kind = _ZIP_KINDS.get(entry.compress_type)
                    if kind is not None and not entry.is_dir():
                        name = entry.filename.removeprefix("./")
                        yield name, entry.header_offset, entry.compress_size, kind
        except (zipfile.BadZipFile, *_DAMAGED):
            self.damage = (
                f"{self._file.name} breaks off or is damaged: its directory, at its end, cannot be"
                " read"
            )
        except OSError as error:
            raise _gone(self._file.paths[0], error) from error


class _Stream(io.RawIOBase):
    """An archive's parts as one file that can be read and sought in."""

    def __init__(self, file: ArchiveFile) -> None:
        self._size, self._at = file.size, 0
        self._parts = [path.open("rb", buffering=0) for path in file.paths]
        self._starts = [sum(file.sizes[:number]) for number in range(len(file.sizes))]

    def close(self) -> None:
        for part in self._parts:
            part.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:
        view, count = memoryview(buffer), 0
        while count < len(view) and self._at < self._size:
            number = bisect_right(self._starts, self._at) - 1
            self._parts[number].seek(self._at - self._starts[number])
            read = self._parts[number].readinto(view[count:])
            if not read:
                break
            self._at, count = self._at + read, count + read
        return count
