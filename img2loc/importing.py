"""Embeddings that somebody has made, in clip-retrieval's layout → a gallery, without the photographs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.claims import claim, working_on
from img2loc.errors import SourceError, WrongEncoder
from img2loc.gallery import Gallery
from img2loc.identity import Seen, hashed, key
from img2loc.indexing import index
from img2loc.manifest import MANIFEST
from img2loc.parquet import ParquetTable
from img2loc.protocols import Encoder
from img2loc.shards import Encoded, Progress, is_whole, shard_paths, write_shard
from img2loc.sources import CsvSource, location_of
from img2loc.stores import Store
from img2loc.types import Embedding, Item, Photo, Rejected
from img2loc.vectors import resolve_spec

_CHUNK = 10_000
_CHECKED, _SAME = 32, 0.98


@dataclass(frozen=True, slots=True)
class Check:
    """Cosines of rows with what the encoder makes of their photographs now."""

    photos: int
    median: float
    lowest: float


class Embeddings:
    """`img_emb/*.npy` and `metadata/*.parquet` of a folder, in the order of their names, row by row.

    A row's id is its column "id", else that which names its photograph; `places` is a CSV of coordinates by id, for metadata
    that have none. Raises SourceError where vectors and rows do not pair up.
    """

    def __init__(self, folder: Path, places: Path | None = None) -> None:
        self.path = folder
        vectors, tables = sorted(folder.glob("img_emb/*.npy")), sorted(folder.glob("metadata/*.parquet"))
        if not vectors or len(vectors) != len(tables):
            raise SourceError(
                f"{folder} has {len(vectors)} files img_emb/*.npy and {len(tables)} metadata/*.parquet. There should be as many."
            )
        required = ("photo",) if places else ("photo", "lat", "lon")
        self._pairs = [
            (path, ParquetTable(table, _required(table, required))) for path, table in zip(vectors, tables, strict=True)
        ]
        shapes = {path: _mapped(path).shape for path in vectors}
        for path, table in self._pairs:
            if len(shapes[path]) != 2 or shapes[path][0] != len(table):
                raise SourceError(
                    f"{path} has the shape {shapes[path]}, and {table.path} has {len(table):,} rows. They do not pair."
                )
        self.dims = {shape[1] for shape in shapes.values()}
        self._places = _Places(places) if places else None
        content = [[table.fingerprint(""), list(shapes[path])] for path, table in self._pairs]
        self.fingerprint = hashlib.sha256(json.dumps([content, self._places and self._places.fingerprint]).encode()).hexdigest()

    def __len__(self) -> int:
        """Rows."""
        return sum(len(table) for _, table in self._pairs)

    def __iter__(self) -> Iterator[Encoded]:
        """Each row with its vector at unit length, or why it cannot be used."""
        seen = Seen()
        for path, table in self._pairs:
            vectors = _mapped(path)
            chunk: list[dict[str, str]] = []
            for number, cells in table:
                chunk.append(cells)
                if len(chunk) == _CHUNK or number == len(table):
                    yield from self._encoded(chunk, np.asarray(vectors[number - len(chunk) : number], np.float32), seen)
                    chunk = []

    def _encoded(self, rows: list[dict[str, str]], vectors: NDArray[np.float32], seen: Seen) -> Iterator[Encoded]:
        lengths = np.linalg.norm(vectors, axis=1)
        ids = [row.get("id") or row.get("photo", "") for row in rows]
        places = self._places.find(ids) if self._places else [(row["lat"], row["lon"]) for row in rows]
        there = seen.add(ids)
        for row, identity, place, vector, length, twice in zip(rows, ids, places, vectors, lengths, there, strict=True):
            location = "its id is not in the table of coordinates" if place is None else location_of(*place)
            if twice:
                location = "duplicate id"
            elif not (np.isfinite(length) and length > 1e-6):
                location = "its vector has no direction"
            if isinstance(location, str):
                yield Rejected(identity, location)
            else:
                rest = (row.get(role, "") for role in ("label", "author", "licence"))
                yield Item(identity, location, Photo(Path(row.get("photo") or identity)), *rest), vector / length


def check(embeddings: Embeddings, encoder: Encoder, photos: Path) -> Check:
    """Encode some rows' photographs again. Raises WrongEncoder where they come out otherwise, SourceError where none is found."""
    _require_dim(embeddings, encoder)
    store = Store(photos)
    found: list[tuple[Photo, Embedding]] = []
    entries = (entry for entry in embeddings if not isinstance(entry, Rejected))
    block: list[tuple[Item, Embedding]] = []
    for item, vector in entries:
        block.append((item, vector))
        if len(block) == _CHUNK:
            found, block = found + _with_photos(store, block), []
        if len(found) >= _CHECKED:
            break
    found = (found + _with_photos(store, block))[:_CHECKED]
    pairs = zip(found, encoder.encode(photo for photo, _ in found), strict=True)
    cosines = [float(vector @ again) for (_, vector), again in pairs if not isinstance(again, Rejected)]
    if not cosines:
        raise SourceError(f"{photos} has no photograph of these rows, so there is nothing to check them by. Leave --photos out.")
    done = Check(len(cosines), float(np.median(cosines)), min(cosines))
    if done.median < _SAME:
        raise WrongEncoder(
            f"These embeddings are not by {encoder.name}: of {done.photos} photos encoded again the cosine is {done.median:.3f} "
            f"in the middle, and should be {_SAME} or more. Name the encoder that made them."
        )
    return done


def build(
    embeddings: Embeddings,
    encoder: Encoder,
    folder: Path,
    *,
    alias: str,
    table: Mapping[str, Any],
    spec: str = "auto",
    check: Check | None = None,
    progress: Progress = lambda done: None,
) -> Gallery:
    """Make a gallery of them, or go on where an earlier call stopped. Raises GalleryError as `indexing.build` does."""
    _require_dim(embeddings, encoder)
    spec = resolve_spec(spec, len(embeddings))
    with working_on(folder):
        claim(folder, {"source": embeddings.fingerprint, "encoder": encoder.name})
        (folder / MANIFEST).unlink(missing_ok=True)
        rows, number, done = iter(embeddings), 0, 0
        while shard := [entry for _, entry in zip(range(_CHUNK), rows, strict=False)]:
            if not is_whole(paths := shard_paths(folder, number)):
                write_shard(paths, shard, encoder.dim, np.float16, embeddings.path.name)
            number, done = number + 1, done + len(shard)
            progress(done)
        stamp = {"name": encoder.name, "alias": alias, "table": dict(table)}
        about = {"source": embeddings.path.name, "of": "photos", "imported": {"check": check and asdict(check)}}
        return index(folder, stamp, spec, about)


class _Places:
    """Coordinates by id, or by Flickr's number in it: 32 bytes each."""

    def __init__(self, path: Path) -> None:
        source = CsvSource(path)
        self.fingerprint = source.fingerprint
        ids: list[str] = []
        hashes: list[NDArray[np.uint64]] = []
        points: list[tuple[float, float]] = []
        chunks: list[NDArray[np.float64]] = []
        for entry in source:
            if isinstance(entry, Item):
                ids.append(key(entry.id))
                points.append((entry.location.lat, entry.location.lon))
            if len(ids) == _CHUNK:
                hashes.append(hashed(ids))
                chunks.append(np.array(points))
                ids, points = [], []
        keys = np.concatenate([*hashes, hashed(ids)])
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._points = np.concatenate([*chunks, np.array(points).reshape(-1, 2)])
        if not len(keys):
            raise SourceError(f"{path} has no usable coordinates.")

    def find(self, ids: list[str]) -> list[tuple[str, str] | None]:
        """Latitude and longitude of each id, None for one that is not there."""
        asked = hashed(map(key, ids))
        at = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
        found = self._keys[at] == asked
        points = self._points[self._order[at]]
        return [(str(lat), str(lon)) if there else None for there, (lat, lon) in zip(found, points, strict=True)]


def _with_photos(store: Store, block: list[tuple[Item, Embedding]]) -> list[tuple[Photo, Embedding]]:
    found = store.find([str(item.photo.path) for item, _ in block]) if block else []
    return [(photo, vector) for photo, (_, vector) in zip(found, block, strict=True) if isinstance(photo, Photo)]


def _require_dim(embeddings: Embeddings, encoder: Encoder) -> None:
    if embeddings.dims != {encoder.dim}:
        dims = ", ".join(map(str, sorted(embeddings.dims)))
        raise WrongEncoder(f"{embeddings.path} has vectors of {dims} dimensions, and {encoder.name} gives {encoder.dim}.")


def _required(table: Path, usual: tuple[str, ...]) -> tuple[str, ...]:
    """An id may stand for the photograph's name."""
    import pyarrow.parquet as pq

    names = {name.lower() for name in pq.read_schema(table).names}
    return usual[1:] if "id" in names else usual


def _mapped(path: Path) -> Any:
    try:
        return np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise SourceError(f"{path} cannot be read as a .npy file ({error}).") from error
