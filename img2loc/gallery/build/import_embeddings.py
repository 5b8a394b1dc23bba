"""Embeddings that somebody has made, in clip-retrieval's layout → a gallery, without the photographs."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import SourceError, WrongEncoder
from img2loc.core.protocols import Encoder
from img2loc.core.types import Embedding, Item, Location, Photo, Rejected
from img2loc.data.items import location_of
from img2loc.data.photo_names import SeenIds, ending, hashed, key
from img2loc.data.photo_store import DEEPEST, Store
from img2loc.data.tables import COLUMN_NAMES, PHOTO_ROLES, open_table
from img2loc.gallery.build.embed import Progress
from img2loc.gallery.build.pipeline import index
from img2loc.gallery.build.shards import Encoded, is_whole, shard_paths, write_shard
from img2loc.gallery.build.workspace import begin, workspace
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.spec import resolve_spec

_CHUNK = 10_000
_CHECKED, _SAME = 32, 0.98
_ROLES = {**PHOTO_ROLES, "photo": (COLUMN_NAMES["photo"], ("id",))}
"""An id may stand for the photograph's name."""


@dataclass(frozen=True, slots=True)
class Check:
    """Cosines of rows with what the encoder makes of their photographs now."""

    photos: int
    median: float
    lowest: float


class Embeddings:
    """`img_emb/*.npy` and `metadata/*.parquet` of a folder, those of one number together, in their order, row by row.

    A row's id is its column "id", else that which names its photograph; `places` is a CSV of
    coordinates by id, for metadata that have none. Raises SourceError where vectors and rows do not
    pair up.
    """

    def __init__(self, folder: Path, places: Path | None = None) -> None:
        self.path = folder
        vectors, tables = (
            sorted(folder.glob("img_emb/*.npy")),
            sorted(folder.glob("metadata/*.parquet")),
        )
        if not vectors or len(vectors) != len(tables):
            raise SourceError(
                f"{folder} has {len(vectors)} files img_emb/*.npy and {len(tables)} metadata/*.parquet. There should be as many."
            )
        required = ("photo",) if places else ("photo", "lat", "lon")
        self._pairs = [
            (path, open_table(table, required, _ROLES)) for path, table in _paired(vectors, tables)
        ]
        shapes = {path: _mapped(path).shape for path in vectors}
        for path, table in self._pairs:
            if len(shapes[path]) != 2 or shapes[path][0] != len(table):
                raise SourceError(
                    f"{path} has the shape {shapes[path]}, and {table.path} has {len(table):,} rows. They do not pair."
                )
        self.dims = {shape[1] for shape in shapes.values()}
        self._places = _Places(places) if places else None
        content = [[table.fingerprint(""), _digest(path)] for path, table in self._pairs]
        self.fingerprint = hashlib.sha256(
            json.dumps([content, self._places and self._places.fingerprint]).encode()
        ).hexdigest()

    def __len__(self) -> int:
        """Rows."""
        return sum(len(table) for _, table in self._pairs)

    def __iter__(self) -> Iterator[Encoded]:
        """Each row with its vector at unit length, or why it cannot be used."""
        seen = SeenIds()
        for path, table in self._pairs:
            vectors = _mapped(path)
            chunk: list[tuple[str, dict[str, str]]] = []
            for number, row in enumerate(table, 1):
                assert not isinstance(
                    row, Rejected
                )  # No row of a Parquet file has more cells than another.
                chunk.append(row)
                if len(chunk) == _CHUNK or number == len(table):
                    own = np.asarray(vectors[number - len(chunk) : number], np.float64)
                    yield from self._encoded(table.path.name, chunk, own, seen)
                    chunk = []

    def _encoded(
        self,
        table: str,
        located: list[tuple[str, dict[str, str]]],
        vectors: NDArray[np.float64],
        seen: SeenIds,
    ) -> Iterator[Encoded]:
        lengths = np.linalg.norm(vectors, axis=1)
        rows = [row for _, row in located]
        ids = [row.get("id") or row.get("photo") or f"{table}, {where}" for where, row in located]
        places = (
            self._places.find(ids) if self._places else [(row["lat"], row["lon"]) for row in rows]
        )
        there = seen.add(ids)
        for row, identity, place, vector, length, twice in zip(
            rows, ids, places, vectors, lengths, there, strict=True
        ):
            location = (
                "its id is not in the table of coordinates"
                if place is None
                else location_of(*place)
            )
            if not (row.get("id") or row.get("photo")):
                location = "it has no id and names no photograph"
            elif twice:
                location = "duplicate id"
            elif not (np.isfinite(length) and length > 1e-6):
                location = "its vector has no direction"
            if isinstance(location, str):
                yield Rejected(identity, location)
            else:
                rest = (row.get(role, "") for role in ("label", "author", "license"))
                yield (
                    Item(identity, location, Photo(Path(row.get("photo") or identity)), *rest),
                    (vector / length).astype(np.float32),
                )


def check(embeddings: Embeddings, encoder: Encoder, photos: Path) -> Check:
    """Encode some rows' photographs again.

    Raises WrongEncoder where they come out otherwise, SourceError where none is found.
    """
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
    cosines = [
        float(vector @ again) for (_, vector), again in pairs if not isinstance(again, Rejected)
    ]
    if not cosines:
        raise SourceError(
            f"{photos} has no photograph of these rows, so there is nothing to check them by. Leave --photos out."
        )
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
    """Make a gallery of them, or go on where an earlier call stopped.

    Raises GalleryError as `indexing.build` does.
    """
    _require_dim(embeddings, encoder)
    spec = resolve_spec(spec, len(embeddings))
    with workspace(folder).locked():
        begin(folder, {"source": embeddings.fingerprint, "encoder": encoder.name})
        rows, number, done = iter(embeddings), 0, 0
        while shard := [entry for _, entry in zip(range(_CHUNK), rows, strict=False)]:
            if not is_whole(paths := shard_paths(folder, number)):
                write_shard(paths, shard, encoder.dim, np.float16, embeddings.path.name)
            number, done = number + 1, done + len(shard)
            progress(done)
        stamp = {"name": encoder.name, "alias": alias, "table": dict(table)}
        about = {
            "source": embeddings.path.name,
            "of": "photos",
            "imported": {"check": check and asdict(check)},
        }
        return index(folder, stamp, spec, about)


class _Places:
    """Coordinates by id or by a photograph's name, with the folders above it or without, or by Flickr's number: 32 bytes each."""

    def __init__(self, path: Path) -> None:
        table = open_table(path, ("lat", "lon"))
        roles = [role for role in ("id", "photo") if role in table.columns]
        if not roles:
            raise SourceError(f"{path} has no column for an id, nor one for the photo. Call it id.")
        self.fingerprint = table.fingerprint("")
        ids: list[str] = []
        hashes: list[NDArray[np.uint64]] = []
        points: list[tuple[float, float]] = []
        chunks: list[NDArray[np.float64]] = []
        for row in table:
            place = None if isinstance(row, Rejected) else location_of(row[1]["lat"], row[1]["lon"])
            if isinstance(row, Rejected) or not isinstance(place, Location):
                continue
            for name in dict.fromkeys(key(row[1][role]) for role in roles if row[1][role]):
                ids.append(name)
                points.append((place.lat, place.lon))
            if len(ids) >= _CHUNK:
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
        rows = np.full(len(ids), -1)
        ways: list[Callable[[str], str]] = [
            key,
            *(partial(ending, parts=parts) for parts in range(DEEPEST, 0, -1)),
        ]
        for way in ways:
            asked = hashed(map(way, ids))
            at = np.minimum(np.searchsorted(self._keys, asked), len(self._keys) - 1)
            rows = np.where((rows < 0) & (self._keys[at] == asked), self._order[at], rows)
        points = self._points[rows]
        return [
            (str(lat), str(lon)) if row >= 0 else None
            for row, (lat, lon) in zip(rows, points, strict=True)
        ]


def _with_photos(
    store: Store, block: list[tuple[Item, Embedding]]
) -> list[tuple[Photo, Embedding]]:
    found = store.find([str(item.photo.path) for item, _ in block]) if block else []
    return [
        (photo, vector)
        for photo, (_, vector) in zip(found, block, strict=True)
        if isinstance(photo, Photo)
    ]


def _require_dim(embeddings: Embeddings, encoder: Encoder) -> None:
    if embeddings.dims != {encoder.dim}:
        dims = ", ".join(map(str, sorted(embeddings.dims)))
        raise WrongEncoder(
            f"{embeddings.path} has vectors of {dims} dimensions, and {encoder.name} gives {encoder.dim}."
        )


def _mapped(path: Path) -> Any:
    try:
        vectors = np.load(path, mmap_mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise SourceError(f"{path} cannot be read as a .npy file ({error}).") from error
    if vectors.dtype.kind != "f":
        raise SourceError(
            f"{path} is of the type {vectors.dtype}; embeddings are float16 or float32."
        )
    return vectors


def _paired(vectors: list[Path], tables: list[Path]) -> list[tuple[Path, Path]]:
    """Files of one number, whatever is before it and however many digits it has, in the order of the numbers."""
    if len(vectors) == 1:
        return [(vectors[0], tables[0])]
    by_number = [{_number(path): path for path in paths} for paths in (vectors, tables)]
    if len(by_number[0]) < len(vectors) or len(by_number[1]) < len(tables):
        raise SourceError(
            f"{vectors[0].parent.parent} has several files of one number. Give each its own."
        )
    for one, other in (by_number, reversed(by_number)):
        if alone := sorted(path.name for number, path in one.items() if number not in other):
            raise SourceError(
                f"{alone[0]} has no other half: img_emb/ and metadata/ should have files of the same numbers."
            )
    return [(by_number[0][number], by_number[1][number]) for number in sorted(by_number[0])]


def _number(path: Path) -> tuple[int, str]:
    found = re.search(r"\d+$", path.stem)
    return (int(found[0]), "") if found else (-1, path.stem)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
