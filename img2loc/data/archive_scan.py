"""Files of tar and zip archives → volumes, and each volume gone through once for what lies in it."""

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
"""How a file lies in its archive: as it is, or behind a header of its own, as it is or deflated."""
_PIECE = re.compile(r"(?P<stem>.*?[^0-9])(?P<number>\d{2,})$")
_GO_ON = "Put it back, and run the same command again: what is done is kept."
_DAMAGED = (ValueError, OverflowError, IndexError, struct.error, NotImplementedError)
"""What Python's readers of archives raise on damaged ones besides their own errors."""
Row = tuple[str, int, int, int]
"""Name, offset, size and kind."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A file, or the pieces of one in their order, read as one stretch of bytes."""

    paths: tuple[Path, ...]
    sizes: tuple[int, ...]

    @property
    def name(self) -> str:
        """The file's, or the first and the last piece's."""
        return " to ".join(dict.fromkeys((self.paths[0].name, self.paths[-1].name)))

    @property
    def size(self) -> int:
        """Bytes of all pieces."""
        return sum(self.sizes)

    def read(self, offset: int, size: int) -> bytes:
        """These bytes.

        Raises SourceError where they are gone: no photograph's fault, so the work stops.
        """
        parts = []
        for path, length in zip(self.paths, self.sizes, strict=True):
            if size and offset < length:
                wanted = min(size, length - offset)
                parts.append(_read(path, offset, wanted))
                size, offset = size - wanted, 0
            else:
                offset -= length
        return b"".join(parts)


def volumes_among(files: Sequence[Path]) -> Iterator[Volume]:
    """Archives among files; pieces that go on with the one before are put to it."""
    pieces: list[Path] = []
    for file in files:
        if file.suffix.lower() in (".tar", ".zip"):
            yield from _joined(pieces)
            pieces = []
            yield from _joined([file])
        elif _PIECE.match(file.name):
            if pieces and _follows(pieces[-1], file) and not _begins_a_tar(file):
                pieces.append(file)
            elif _begins_a_tar(file):
                yield from _joined(pieces)
                pieces = [file]
    yield from _joined(pieces)


def _joined(pieces: Sequence[Path]) -> Iterator[Volume]:
    if pieces:
        yield Volume(tuple(pieces), tuple(piece.stat().st_size for piece in pieces))


def _follows(before: Path, file: Path) -> bool:
    one, two = _PIECE.match(before.name), _PIECE.match(file.name)
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
        raise SourceError(f"{path} has become shorter. {_GO_ON}")
    return content


def _gone(path: Path, error: OSError) -> SourceError:
    return SourceError(f"{path} cannot be read any more ({error.strerror or error}). {_GO_ON}")


class TarScan:
    """The regular files of a tar; `torn` is known once they have been gone through."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.torn = ""

    def __iter__(self) -> Iterator[Row]:
        count = 0
        try:
            stream = _Stream(self._volume)
            with tarfile.open(fileobj=stream, mode="r:", errors="backslashreplace") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # Else it would remember them all.
                    if member.size < 0 or member.offset_data + member.size > self._volume.size:
                        break
                    if member.isreg():
                        count += 1
                        yield member.name.removeprefix("./"), member.offset_data, member.size, PLAIN
                ends = tar.offset if member is None else member.offset
        except (tarfile.TarError, *_DAMAGED):
            ends = min(stream.tell(), self._volume.size) if count else 0
            member = None
        except OSError as error:
            raise _gone(self._volume.paths[0], error) from error
        stream.seek(ends)
        if member is not None or stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            self.torn = (
                f"{self._volume.name} breaks off at byte {ends:,}: the {count:,} files before that"
                " are used"
            )
            if not count:
                self.torn += ", and it may be empty, compressed or no tar file"


class ZipScan:
    """The files of a zip."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self.torn = ""

    def __iter__(self) -> Iterator[Row]:
        try:
            with zipfile.ZipFile(self._volume.paths[0]) as opened:
                for entry in opened.infolist():
                    if entry.is_dir() or entry.compress_type not in (
                        zipfile.ZIP_STORED,
                        zipfile.ZIP_DEFLATED,
                    ):
                        continue
                    kind = ZIP_STORED if entry.compress_type == zipfile.ZIP_STORED else ZIP_DEFLATED
                    yield (
                        entry.filename.removeprefix("./"),
                        entry.header_offset,
                        entry.compress_size,
                        kind,
                    )
        except (zipfile.BadZipFile, *_DAMAGED):
            self.torn = (
                f"{self._volume.name} breaks off or is damaged: its directory, at its end, cannot"
                " be read"
            )
        except OSError as error:
            raise _gone(self._volume.paths[0], error) from error


class _Stream(io.RawIOBase):
    """A volume as a file that can be read and sought in."""

    def __init__(self, volume: Volume) -> None:
        self._volume, self._at = volume, 0
        self._files = [path.open("rb", buffering=0) for path in volume.paths]
        self._starts = [sum(volume.sizes[:number]) for number in range(len(volume.sizes))]

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._volume.size}[whence]
        )
        return self._at

    def readinto(self, buffer: Any) -> int:
        view, got = memoryview(buffer), 0
        while got < len(view) and self._at < self._volume.size:
            number = bisect_right(self._starts, self._at) - 1
            self._files[number].seek(self._at - self._starts[number])
            read = self._files[number].readinto(view[got:])
            if not read:
                break
            self._at, got = self._at + read, got + read
        return got
