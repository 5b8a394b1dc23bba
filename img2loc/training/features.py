"""Photographs → features of a frozen image tower, on disk, computed once for all trainings."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core import paths as assets
from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.files import replacing, shard_size
from img2loc.core.geo import Array
from img2loc.core.protocols import Source
from img2loc.core.types import NOT_A_PHOTO, Item, Photo, Rejected
from img2loc.core.workspace import Workspace
from img2loc.encoders.torch_encoder import TorchEncoder

Row = NDArray[np.float32]
"""Features of one photograph as the tower gives them, not of unit length, shape (dim,)."""
_OPEN_SHARDS = 256
_NO_FILE = (-1, -1)


class Features:
    """The features of a source's usable photographs, in its order, memory-mapped from disk."""

    def __init__(self, folder: Path, shards: int) -> None:
        self.folder = folder
        tables = [_read(_files(folder, number)[1]) for number in range(shards)]
        usable = [table["reason"].to_numpy() == "" for table in tables]
        points = [
            np.stack([table[name].to_numpy() for name in ("lat", "lon")], 1) for table in tables
        ]
        self._starts = np.cumsum([0, *(int(rows.sum()) for rows in usable)])
        self._usable: NDArray[np.bool_] = np.concatenate([np.empty(0, bool), *usable])
        self.points: Array = np.concatenate([np.empty((0, 2)), *points])[self._usable]
        """(lat, lon) of every row in degrees, shape (n, 2)."""
        self.skipped = [
            Rejected(table["id"][int(row)].as_py(), table["reason"][int(row)].as_py())
            for table, rows in zip(tables, usable, strict=True)
            for row in np.flatnonzero(~rows)
        ]
        """The entries that could not be used, and why."""
        self._shard = lru_cache(_OPEN_SHARDS)(self._open)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features of these rows, shape (len(rows), dim)."""
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        parts = {
            int(number): self._shard(int(number))[rows[shards == number] - self._starts[number]]
            for number in np.unique(shards)
        }
        features = np.empty((len(rows), next(iter(parts.values())).shape[1]), np.float32)
        for number, part in parts.items():
            features[shards == number] = part
        return features

    def photos(self, source: Source) -> list[Photo]:
        """The photograph of every row; `source` is what the features were taken from."""
        pairs = zip(source, self._usable, strict=True)
        return [entry.photo for entry, usable in pairs if usable and isinstance(entry, Item)]

    def photographers(self, source: Source) -> list[str]:
        """Who took the photograph of every row, "" where that is not known; `source` as above."""
        pairs = zip(source, self._usable, strict=True)
        return [entry.author for entry, usable in pairs if usable and isinstance(entry, Item)]

    def write_skipped(self, folder: Path) -> None:
        """Write the entries that could not be used, and why, as `skipped.csv`."""
        with (folder / "skipped.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(("id", "reason"))
            rows.writerows((entry.id, entry.reason) for entry in self.skipped)

    def _open(self, number: int) -> NDArray[np.float32]:
        shard: NDArray[np.float32] = np.load(_files(self.folder, number)[0], mmap_mode="r")
        return shard


def extract(
    source: Source, tower: TorchEncoder, progress: Callable[[int], None] = lambda done: None
) -> Features:
    """The features of a source, computed now or by an earlier training (finished or killed).

    A shard is computed again where a photograph's file has another size or time of change, or was
    missing and is there now; a file that was deleted keeps its features. `progress` is called with
    how many entries of the source are done. Raises SourceError where no photograph can be used, and
    ConfigError where the features cannot be written or another process is computing the same ones.
    """
    mark = f"{source.fingerprint}\n{source.path.resolve()}\n{tower.name}\n{tower.dtype}"
    folder = assets.features() / hashlib.sha256(mark.encode()).hexdigest()[:16]
    with Workspace(folder, "features", ConfigError, "set IMG2LOC_HOME to another folder").locked():
        shards = _write_shards(source, tower, folder, progress)
        features = Features(folder, shards)
        if not len(features):
            reason = features.skipped[0].reason if features.skipped else "it is empty"
            for number in range(shards):
                for path in _files(folder, number):
                    path.unlink()  # So that a source that is mended is read again.
            raise SourceError(f"No photograph of {source.path} can be used: {reason}.")
        return features


def _write_shards(
    source: Source, tower: TorchEncoder, folder: Path, progress: Callable[[int], None]
) -> int:
    """Write the shards that are missing or stale; returns how many there are."""
    entries, done, number = iter(source), 0, 0
    while shard := list(islice(entries, shard_size(done))):
        array, table = _files(folder, number)
        if not array.exists() or _stale(table, shard):
            array.unlink(missing_ok=True)
            stamps = list(map(_stamp, shard))  # Before they are read, so that a change is seen.
            rows = _rows(shard, tower, done, progress)
            _write_table(table, shard, stamps, rows)
            kept = [row for row in rows if not isinstance(row, str)]
            with replacing(array) as draft, draft.open("wb") as file:  # Last: marks it complete.
                np.save(file, np.array(kept, np.float32).reshape(-1, tower.dim))
        done, number = done + len(shard), number + 1
        progress(done)
    return number


def _rows(
    entries: list[Item | Rejected], tower: TorchEncoder, done: int, progress: Callable[[int], None]
) -> list[Row | str]:
    """The features of each entry, or why it has none."""
    items = [entry for entry in entries if isinstance(entry, Item)]
    photos = [item.photo for item in items if item.photo is not NOT_A_PHOTO]
    computed = tower.run(photos, lambda photo: tower.prepare(photo.image()), tower.forward)
    rows: list[Row | str] = []
    for entry in entries:
        if isinstance(entry, Rejected):
            rows.append(entry.reason)
        elif entry.photo is NOT_A_PHOTO:
            rows.append("a point, with no photograph")
        else:
            _, row = next(computed)
            usable = isinstance(row, str) or (np.isfinite(row).all() and row.any())
            rows.append(row if usable else "the model gives it no features")
        progress(done + len(rows))
    return rows


def _stamp(entry: Item | Rejected) -> tuple[int, int]:
    """Size and time of change, in nanoseconds, of an entry's own file; _NO_FILE without one."""
    if isinstance(entry, Rejected) or entry.photo is NOT_A_PHOTO or entry.photo.data is not None:
        return _NO_FILE
    try:
        stat = entry.photo.path.stat()
    except (OSError, ValueError):
        return _NO_FILE
    return stat.st_size, stat.st_mtime_ns


def _stale(path: Path, entries: list[Item | Rejected]) -> bool:
    """Whether a file of these entries is new or changed since their features were computed."""
    table = _read(path, ["size", "modified"])
    before = zip(table["size"].to_pylist(), table["modified"].to_pylist(), strict=True)
    return any(
        now not in (_NO_FILE, then) for then, now in zip(before, map(_stamp, entries), strict=True)
    )


def _write_table(
    path: Path,
    entries: list[Item | Rejected],
    stamps: list[tuple[int, int]],
    rows: list[Row | str],
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    at = [(e.location.lat, e.location.lon) if isinstance(e, Item) else (0.0, 0.0) for e in entries]
    columns = {
        "id": pa.array([entry.id for entry in entries], pa.string()),
        "lat": pa.array([lat for lat, _ in at], pa.float64()),
        "lon": pa.array([lon for _, lon in at], pa.float64()),
        "size": pa.array([size for size, _ in stamps], pa.int64()),
        "modified": pa.array([modified for _, modified in stamps], pa.int64()),
        "reason": pa.array([row if isinstance(row, str) else "" for row in rows], pa.string()),
    }
    pq.write_table(pa.table(columns), path)


def _read(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns)


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"features_{number:05}.npy", folder / f"rows_{number:05}.parquet"
