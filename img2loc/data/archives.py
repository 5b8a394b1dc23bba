"""Tar and zip files → what lies in them at which offset: photographs are read in place, and nothing is unpacked.

A tar file may come in numbered pieces that are one file when put together, as MP16-Pro does
(mp-16-images00 to 18). What is in an archive is looked up once and kept in the user's cache folder,
memory-mapped from then on.
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
from img2loc.data.archive_scan import PLAIN, ZIP_STORED, TarScan, Volume, ZipScan, volumes_among

_BATCH = 65_536
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Member:
    """A file inside an archive: call it for its bytes."""

    volume: Volume
    offset: int
    size: int
    kind: int

    def __call__(self) -> bytes:
        """Its bytes.

        Raises UnreadablePhoto where they are damaged, SourceError where the archive is gone.
        """
        if self.kind == PLAIN:
            return self.volume.read(self.offset, self.size)
        header = self.volume.read(self.offset, 30)
        begins = (
            self.offset
            + 30
            + int.from_bytes(header[26:28], "little")
            + int.from_bytes(header[28:30], "little")
        )
        content = self.volume.read(begins, self.size)
        if self.kind == ZIP_STORED:
            return content
        try:
            return zlib.decompress(content, -zlib.MAX_WBITS)
        except zlib.error as error:
            raise UnreadablePhoto(f"damaged in its zip file: {error}") from error


class Archive:
    """The files in a volume, in their order;

    `torn` says where it breaks off, and is empty where it is whole.
    """

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        found = _catalogue(volume)
        self._table = found.slice(0, found.num_rows - 1)
        self.torn = str(found["name"][-1].as_py())

    def __len__(self) -> int:
        """Files in it."""
        return int(self._table.num_rows)

    def names(self) -> Iterator[str]:
        """Their names, without a "./" before them."""
        for batch in self._table["name"].chunks:
            yield from batch.to_pylist()

    def member(self, number: int) -> tuple[str, Member]:
        """One of them, by its place: its name, and what reads it."""
        name, offset, size, kind = (
            self._table[column][number].as_py() for column in ("name", "offset", "size", "kind")
        )
        return name, Member(self.volume, offset, size, kind)

    def digest(self) -> bytes:
        """What changes with the names, places and sizes of its files, and not with where it lies."""
        sha = hashlib.sha256(self.torn.encode())
        for batch in self._table.to_batches():
            sha.update(
                json.dumps(
                    [batch[column].to_pylist() for column in ("name", "offset", "size")]
                ).encode()
            )
        return sha.digest()


def find_archives(place: Path) -> list[Archive]:
    """The archive at a path, or those directly in a folder, by name.

    Raises SourceError where one cannot be read.
    """
    if not place.exists():
        raise SourceError(f"There is no file or folder {place}.")
    try:
        files = (
            sorted(entry for entry in place.iterdir() if entry.is_file())
            if place.is_dir()
            else [place]
        )
        return [Archive(volume) for volume in volumes_among(files)]
    except OSError as error:
        raise SourceError(f"{place} cannot be read: {error.strerror or error}.") from error


def has_archives(folder: Path) -> bool:
    """Whether archives lie directly in a folder. Raises SourceError where it cannot be read."""
    try:
        return (
            next(
                volumes_among(sorted(entry for entry in folder.iterdir() if entry.is_file())), None
            )
            is not None
        )
    except OSError as error:
        raise SourceError(f"{folder} cannot be read: {error.strerror or error}.") from error


def _catalogue(volume: Volume) -> Any:
    """The table of what is in a volume, memory-mapped: made now, or found in the cache."""
    import pyarrow as pa

    facts = [
        (str(path.resolve()), size, path.stat().st_mtime_ns)
        for path, size in zip(volume.paths, volume.sizes, strict=True)
    ]
    identity = hashlib.sha256(json.dumps([_VERSION, facts]).encode()).hexdigest()
    path = paths.catalogues() / f"{identity}.arrow"
    with suppress(OSError, pa.ArrowInvalid):  # None yet, or one that a crash left torn.
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    scan = ZipScan(volume) if volume.paths[0].suffix.lower() == ".zip" else TarScan(volume)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, f".{os.getpid()}.tmp") as draft:
            _write(draft, scan)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except OSError as error:
        raise SourceError(
            f"What lies in {volume.name} is noted in {path.parent}, which cannot be written"
            f" ({error.strerror or error}). Make room there, or name another place:"
            " IMG2LOC_HOME=DIR."
        ) from error


def _write(path: Path, scan: TarScan | ZipScan) -> None:
    """Write the rows of a scan, batch by batch, and how it ended as one more row."""
    import pyarrow as pa

    schema = pa.schema(
        [("name", pa.string()), ("offset", pa.int64()), ("size", pa.int64()), ("kind", pa.int8())]
    )
    rows = iter(scan)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        while batch := list(islice(rows, _BATCH)):
            writer.write(
                pa.record_batch(
                    [list(column) for column in zip(*batch, strict=True)], schema=schema
                )
            )
        writer.write(pa.record_batch([[scan.torn], [0], [0], [PLAIN]], schema=schema))
