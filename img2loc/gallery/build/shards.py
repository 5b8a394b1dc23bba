"""Shards of embeddings, as clip-retrieval has them: `img_emb/*.npy` and `metadata/*.parquet`.

What could not be embedded is in `skipped/*.json`. Shards are numbered from 0, each with one file of
every kind.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from img2loc.core.errors import GalleryError, first_line
from img2loc.core.files import replacing, write_bytes
from img2loc.core.geo import Array
from img2loc.core.types import Embedding, Embeddings, Item, Rejected
from img2loc.gallery.index.kernels import lengths
from img2loc.gallery.metadata import table_of

if TYPE_CHECKING:
    import pyarrow as pa

Encoded = tuple[Item, Embedding] | Rejected
"""An entry with its vector, or why it has none."""
_KINDS = {"skipped": "json", "metadata": "parquet", "img_emb": "npy"}
"""A shard's files, in the order in which they are written: with its vectors it is whole."""
_REMEDY = "Restore it, or delete the files of its number and run that build again."


def shard_paths(folder: Path, number: int) -> dict[str, Path]:
    """The files of a shard by kind: "skipped", "metadata", "img_emb"."""
    return {kind: folder / kind / f"{kind}_{number:05}.{suffix}" for kind, suffix in _KINDS.items()}


def shard_count(folder: Path) -> int:
    """The number after that of the folder's last shard."""
    numbers = (path.stem.rpartition("_")[2] for path in (folder / "img_emb").glob("*.npy"))
    return max((int(number) + 1 for number in numbers), default=0)


def is_whole(paths: Mapping[str, Path]) -> bool:
    """Whether a shard is there with all its files."""
    return all(path.exists() for path in paths.values())


def write_shard(
    paths: Mapping[str, Path],
    encoded: Iterable[Encoded],
    dim: int,
    dtype: type[np.floating[Any]],
    source: str,
) -> None:
    """Write a shard's files; `source` is the default for rows that name none. Raises OSError."""
    import pyarrow.parquet as pq

    items: list[Item] = []
    vectors: list[Embedding] = []
    skipped: list[Rejected] = []
    for entry in encoded:
        if isinstance(entry, Rejected):
            skipped.append(entry)
        else:
            items.append(entry[0])
            vectors.append(entry[1])
    for path in paths.values():
        path.parent.mkdir(exist_ok=True)
    paths["img_emb"].unlink(missing_ok=True)
    reasons = [{"id": entry.id, "reason": entry.reason} for entry in skipped]
    write_bytes(paths["skipped"], json.dumps(reasons, indent=1).encode())
    with replacing(paths["metadata"]) as draft:
        pq.write_table(table_of(items, source), draft)
    content = io.BytesIO()  # numpy, writing to a file itself, hides why it could not.
    np.save(content, np.array(vectors, dtype=dtype).reshape(len(items), dim))
    write_bytes(paths["img_emb"], content.getbuffer())


class Shards:
    """Shards by number, which can be iterated repeatedly: blocks of unit vectors with their rows.

    Raises GalleryError where a file is missing, or there are not so many `rows`.
    """

    def __init__(self, shards: Sequence[Mapping[str, Path]], rows: int | None = None) -> None:
        self.paths = shards
        for path in (path for paths in shards for path in paths.values()):
            if not path.exists():
                raise GalleryError(f"The shard {path} is missing. {_REMEDY}")
        if rows is not None and len(self) != rows:
            folder = shards[0]["img_emb"].parents[1] if shards else "The folder"
            raise GalleryError(
                f"{folder} has embeddings of {len(self):,} rows, and the gallery {rows:,}. Build it"
                " again."
            )

    @classmethod
    def of(cls, folder: Path, count: int | None = None, rows: int | None = None) -> "Shards":
        """The first `count` shards of a folder, or all of them."""
        numbers = range(shard_count(folder) if count is None else count)
        return cls([shard_paths(folder, number) for number in numbers], rows)

    def __iter__(self) -> Iterator[tuple[Embeddings, "pa.Table"]]:
        """The unit vectors and the rows of each shard that has any."""
        for paths in self.paths:
            vectors = _array(paths["img_emb"]).astype(np.float32, copy=False)
            if len(vectors):
                vectors /= lengths(vectors)[:, None]
                yield vectors, _table(paths["metadata"])

    def __len__(self) -> int:
        """Rows in all shards."""
        return sum(shape[0] for shape in self.shapes())

    def ids(self) -> Iterator[list[str]]:
        """The ids of every shard's rows."""
        for paths in self.paths:
            yield _table(paths["metadata"], ["id"])["id"].to_pylist()

    def shapes(self) -> Iterator[tuple[int, ...]]:
        """The shape of every shard's vectors."""
        for paths in self.paths:
            yield _array(paths["img_emb"], "r").shape

    def locations(self) -> Array:
        """(lat, lon) of every row, shape (n, 2), degrees."""
        places = [np.empty((0, 2))]
        for paths in self.paths:
            table = _table(paths["metadata"], ["lat", "lon"])
            places.append(np.stack([table["lat"].to_numpy(), table["lon"].to_numpy()], axis=1))
        return np.concatenate(places)

    def rejected(self) -> Iterator[Rejected]:
        """What was skipped, in the source's order."""
        for path in (paths["skipped"] for paths in self.paths):
            try:
                entries = [Rejected(**entry) for entry in json.loads(path.read_text())]
            except (OSError, ValueError, TypeError) as error:
                raise _unreadable(path, error) from error
            yield from entries


def _array(path: Path, mmap_mode: Literal["r"] | None = None) -> Any:
    try:
        return np.load(path, mmap_mode=mmap_mode)
    except (EOFError, OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _table(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> GalleryError:
    return GalleryError(f"The shard {path} cannot be read ({first_line(error)}). {_REMEDY}")
