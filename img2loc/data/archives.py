"""Tar and zip files → what lies in them at which offset: photographs are read in place.

Nothing is unpacked. A tar file may come in numbered parts, as MP16-Pro does (mp-16-images00 to 18).
What lies in an archive is listed once, in a memory-mapped catalogue in the user's cache folder.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from img2loc.core import paths
from img2loc.core.errors import SourceError, UnreadablePhoto
from img2loc.core.files import replacing
from img2loc.data.archive_scan import (
    PLAIN,
    ZIP_STORED,
    ArchiveFile,
    TarScan,
    ZipScan,
    archives_among,
)

_BATCH = 65_536
_VERSION = 1
_ZIP_HEADER = 30
"""Bytes of a file's header in a zip, without its name and extra field."""


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: call it for its bytes."""

    file: ArchiveFile
    offset: int
    size: int
    kind: int

    def __call__(self) -> bytes:
        """Its bytes.

        Raises UnreadablePhoto where they are damaged, SourceError where the archive is gone.
        """
        if self.kind == PLAIN:
            return self.file.read(self.offset, self.size)
        header = self.file.read(self.offset, _ZIP_HEADER)
        name, extra = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        content = self.file.read(self.offset + _ZIP_HEADER + name + extra, self.size)
        if self.kind == ZIP_STORED:
            return content
        try:
            return zlib.decompress(content, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise UnreadablePhoto(f"damaged in its zip file: {error}") from error


class Archive:
    """The files in an archive, in their order; `damage` says where it is truncated, "" if whole."""

    def __init__(self, file: ArchiveFile) -> None:
        self.file = file
        table = _catalogue(file)
        self._table = table.slice(0, table.num_rows - 1)
        self.damage = str(table["name"][-1].as_py())

    def __len__(self) -> int:
        """Files in it."""
        return int(self._table.num_rows)

    def names(self) -> Iterator[str]:
        """Their names, without a leading "./"."""
        for batch in self._table["name"].chunks:
            yield from batch.to_pylist()

    def member(self, number: int) -> tuple[str, Member]:
        """The name of a file by its number, and what reads it."""
        name, offset, size, kind = (
            self._table[column][number].as_py() for column in ("name", "offset", "size", "kind")
        )
        return name, Member(self.file, offset, size, kind)

    def digest(self) -> bytes:
        """SHA-256 of its files' names, offsets and sizes; the same wherever the archive lies."""
        sha = hashlib.sha256(self.damage.encode())
        for batch in self._table.to_batches():
            columns = [batch[column].to_pylist() for column in ("name", "offset", "size")]
            sha.update(json.dumps(columns).encode())
        return sha.digest()


def find_archives(place: Path) -> list[Archive]:
    """The archive at a path, or those directly in a folder, by name.

    Raises SourceError where one cannot be read.
    """
    if not place.exists():
        raise SourceError(f"There is no file or folder {place}.")
    return [Archive(file) for file in _archive_files(place)]


def has_archives(folder: Path) -> bool:
    """Whether archives lie directly in a folder. Raises SourceError where it cannot be read."""
    return next(_archive_files(folder), None) is not None


def _archive_files(place: Path) -> Iterator[ArchiveFile]:
    try:
        inside = place.is_dir()
        files = sorted(file for file in place.iterdir() if file.is_file()) if inside else [place]
        yield from archives_among(files)
    except OSError as error:
        raise SourceError(f"{place} cannot be read: {error.strerror or error}.") from error


def _catalogue(file: ArchiveFile) -> Any:
    """The memory-mapped table of the files in an archive, from the cache or a scan."""
    import pyarrow as pa

    facts = [
        (str(path.resolve()), size, path.stat().st_mtime_ns)
        for path, size in zip(file.paths, file.sizes, strict=True)
    ]
    identity = hashlib.sha256(json.dumps([_VERSION, facts]).encode()).hexdigest()
    path = paths.catalogues() / f"{identity}.arrow"
    with suppress(OSError, pa.ArrowInvalid):  # None yet, or one that a crash has damaged.
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    scan = ZipScan(file) if file.paths[0].suffix.lower() == ".zip" else TarScan(file)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, f".{os.getpid()}.tmp") as draft:
            _write(draft, scan)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except OSError as error:
        raise SourceError(
            f"The catalogue of {file.name} cannot be written to {path.parent}"
            f" ({error.strerror or error}). Make room there, or name another place:"
            " IMG2LOC_HOME=DIR."
        ) from error


def _write(path: Path, scan: TarScan | ZipScan) -> None:
    """Write the rows of a scan, batch by batch, and its damage as one more row."""
    import pyarrow as pa

    schema = pa.schema(
        [("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("kind", pa.int8())]
    )
    rows = iter(scan)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            columns = [list(column) for column in zip(*batch, strict=True)]
            writer.write(pa.record_batch(columns, schema=schema))
        writer.write(pa.record_batch([[scan.damage], [0], [0], [PLAIN]], schema=schema))
