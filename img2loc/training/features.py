"""A source's photographs through a frozen image tower, once: features on disk, shard by shard, for any number of trainings."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core import paths as assets
from img2loc.core.errors import ConfigError, SourceError, UnreadablePhoto
from img2loc.core.files import replacing, shard_size
from img2loc.core.geo import Array
from img2loc.core.protocols import Source
from img2loc.core.types import NOT_A_PHOTO, Item, Photo, Rejected
from img2loc.core.workspace import Workspace
from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch

Row = NDArray[np.float32]
"""Features of one photograph as the tower gives them, not of unit length, shape (dim,)."""
_OPEN_SHARDS = 256
_NO_FILE = (-1, -1)


class Features:
    """The features of a source's usable photographs, in its order; on disk, so that their number is no matter of memory."""

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
        """What could not be used, and why."""
        self._shard = lru_cache(_OPEN_SHARDS)(self._open)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features of these rows, shape (len(rows), dim)."""
        shards = np.searchsorted(self._starts, rows, side="right") - 1
        found: NDArray[np.float32] | None = None
        for number in np.unique(shards):
            where = np.flatnonzero(shards == number)
            part = self._shard(int(number))[rows[where] - self._starts[number]]
            if found is None:
                found = np.empty((len(rows), part.shape[1]), np.float32)
            found[where] = part
        assert found is not None
        return found

    def photos(self, source: Source) -> list[Photo]:
        """The photograph of every row; `source` is what the features were taken from."""
        pairs = zip(source, self._usable, strict=True)
        return [entry.photo for entry, usable in pairs if usable and isinstance(entry, Item)]

    def write_skipped(self, folder: Path) -> None:
        """Write what could not be used, and why, as `skipped.csv`."""
        with (folder / "skipped.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(
                [("id", "reason"), *((entry.id, entry.reason) for entry in self.skipped)]
            )

    def _open(self, number: int) -> NDArray[np.float32]:
        shard: NDArray[np.float32] = np.load(_files(self.folder, number)[0], mmap_mode="r")
        return shard


def extract(
    source: Source, tower: TorchEncoder, progress: Callable[[int], None] = lambda done: None
) -> Features:
    """The features of a source, taken now, or found where an earlier training left them (killed or not).

    A shard is taken again where a photograph's file has come to have another size or time of
    change, or is there at last; a file that has gone leaves its features. `progress` is called with
    how many entries of the source are done. Raises SourceError where no photograph can be used, and
    ConfigError where the features cannot be written or another process is taking the same ones.
    """
    mark = f"{source.fingerprint}\n{source.path.resolve()}\n{tower.name}\n{tower.dtype}"
    folder = assets.features() / hashlib.sha256(mark.encode()).hexdigest()[:16]
    with Workspace(folder, "features", ConfigError, "set IMG2LOC_HOME to another folder").locked():
        shards = _take(source, tower, folder, progress)
        found = Features(folder, shards)
        if not len(found):
            reason = found.skipped[0].reason if found.skipped else "it is empty"
            for number in range(shards):
                for path in _files(folder, number):
                    path.unlink()  # Mended, it is read again.
            raise SourceError(f"No photograph of {source.path} can be used: {reason}.")
        return found


def through(
    tower: TorchEncoder, inputs: Iterable[Callable[[], torch.Tensor]]
) -> Iterator[Row | str]:
    """What the tower makes of each input, in order, or why there is none: an input is a call that decodes one photograph.

    While the tower runs over one batch, threads decode the next.
    """
    import torch

    upcoming = iter(inputs)
    with ThreadPoolExecutor(tower._workers, thread_name_prefix="decode") as pool:
        try:
            waiting = [pool.submit(call) for call in islice(upcoming, tower._batch_size)]
            while waiting:
                decoding, waiting = (
                    waiting,
                    [pool.submit(call) for call in islice(upcoming, tower._batch_size)],
                )
                reasons: list[str] = []
                pixels: list[torch.Tensor] = []
                for future in decoding:
                    try:
                        pixels.append(future.result())
                        reasons.append("")
                    except UnreadablePhoto as error:
                        reasons.append(str(error))
                if pixels:
                    with torch.inference_mode():
                        batch = (
                            tower.features(torch.stack(pixels).to(tower.device, tower.dtype))
                            .float()
                            .cpu()
                            .numpy()
                        )
                rows = iter(batch if pixels else ())
                for reason in reasons:
                    yield reason or _checked(next(rows))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _take(
    source: Source, tower: TorchEncoder, folder: Path, progress: Callable[[int], None]
) -> int:
    """Write the shards that are not there yet; returns how many there are."""
    entries, done, number = iter(source), 0, 0
    while shard := list(islice(entries, shard_size(done))):
        paths = _files(folder, number)
        if not paths[0].exists() or _stale(paths[1], shard):
            paths[0].unlink(missing_ok=True)
            stamps = [
                _stamp(entry) for entry in shard
            ]  # Before they are read, so that a later change is seen.
            _write(paths, shard, stamps, _rows(shard, tower, done, progress), tower.dim)
        done, number = done + len(shard), number + 1
        progress(done)
    return number


def _rows(
    entries: list[Item | Rejected], tower: TorchEncoder, done: int, progress: Callable[[int], None]
) -> Iterator[Row | str]:
    photos = [
        entry.photo
        for entry in entries
        if isinstance(entry, Item) and entry.photo is not NOT_A_PHOTO
    ]
    taken = through(tower, (partial(_prepared, tower, photo) for photo in photos))
    for ready, entry in enumerate(entries, done + 1):
        if isinstance(entry, Rejected):
            yield entry.reason
        elif entry.photo is NOT_A_PHOTO:
            yield "a point, with no photograph"
        else:
            yield next(taken)
        progress(ready)


def _prepared(tower: TorchEncoder, photo: Photo) -> torch.Tensor:
    return tower.prepare(photo.image())


def _stamp(entry: Item | Rejected) -> tuple[int, int]:
    """Size and time of change, in nanoseconds, of an entry's file; _NO_FILE where there is none, or none of its own."""
    if isinstance(entry, Rejected) or entry.photo is NOT_A_PHOTO or entry.photo.data is not None:
        return _NO_FILE
    try:
        found = entry.photo.path.stat()
    except (OSError, ValueError):
        return _NO_FILE
    return found.st_size, found.st_mtime_ns


def _stale(path: Path, entries: list[Item | Rejected]) -> bool:
    """Whether a file of these entries is there that was not, or is another, since their features were taken."""
    table = _read(path, ["size", "modified"])
    before = zip(table["size"].to_pylist(), table["modified"].to_pylist(), strict=True)
    return any(
        now not in (_NO_FILE, then) for then, now in zip(before, map(_stamp, entries), strict=True)
    )


def _write(
    paths: tuple[Path, Path],
    entries: list[Item | Rejected],
    stamps: list[tuple[int, int]],
    rows: Iterator[Row | str],
    dim: int,
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    taken = list(rows)
    at = [(e.location.lat, e.location.lon) if isinstance(e, Item) else (0.0, 0.0) for e in entries]
    columns = {
        "id": pa.array([entry.id for entry in entries], pa.string()),
        "lat": pa.array([lat for lat, _ in at], pa.float64()),
        "lon": pa.array([lon for _, lon in at], pa.float64()),
        "size": pa.array([size for size, _ in stamps], pa.int64()),
        "modified": pa.array([modified for _, modified in stamps], pa.int64()),
        "reason": pa.array([row if isinstance(row, str) else "" for row in taken], pa.string()),
    }
    pq.write_table(pa.table(columns), paths[1])
    with (
        replacing(paths[0]) as draft,
        draft.open("wb") as file,
    ):  # Last: a shard is done when its features are there.
        np.save(
            file,
            np.array([row for row in taken if not isinstance(row, str)], np.float32).reshape(
                -1, dim
            ),
        )


def _read(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns)


def _checked(row: Row) -> Row | str:
    return row if np.isfinite(row).all() and row.any() else "the model gives it no features"


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    return folder / f"features_{number:05}.npy", folder / f"rows_{number:05}.parquet"
