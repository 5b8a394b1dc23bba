"""Another program's embeddings, in clip-retrieval's layout → a gallery, without photographs."""

import hashlib
import json
import re
from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
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
from img2loc.gallery.build.build_folder import begin, workspace
from img2loc.gallery.build.embed_parts import Progress
from img2loc.gallery.build.pipeline import index
from img2loc.gallery.build.shards import Encoded, is_whole, shard_paths, write_shard
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.spec import resolve_spec

_CHUNK = 10_000
_CHECKED, _SAME = 32, 0.98
_ROLES = {**PHOTO_ROLES, "photo": (COLUMN_NAMES["photo"], ("id",))}
"""An id may stand for the photograph's name."""


@dataclass(frozen=True, slots=True)
class Check:
    """Cosines of imported vectors with those of the same photographs encoded again."""

    photos: int
    median: float
    lowest: float


class EmbeddingFolder:
    """The rows of a folder's `img_emb/*.npy` and `metadata/*.parquet`, paired by their number.

    A row's id is its column "id", else that which names its photograph; `places` is a table of
    coordinates by id, for metadata that have none. Raises SourceError where vectors and rows do not
    pair up.
    """

    def __init__(self, folder: Path, places: Path | None = None) -> None:
        self.path = folder
        vectors = sorted(folder.glob("img_emb/*.npy"))
        tables = sorted(folder.glob("metadata/*.parquet"))
        if not vectors or len(vectors) != len(tables):
            raise SourceError(
                f"{folder} has {len(vectors)} files img_emb/*.npy and {len(tables)}"
                " metadata/*.parquet. There should be as many."
            )
        required = ("photo",) if places else ("photo", "lat", "lon")
        self._pairs = [
            (path, open_table(table, required, _ROLES)) for path, table in _paired(vectors, tables)
        ]
        shapes = {path: _mapped(path).shape for path in vectors}
        for path, table in self._pairs:
            if len(shapes[path]) != 2 or shapes[path][0] != len(table):
                raise SourceError(
                    f"{path} has the shape {shapes[path]}, and {table.path} has {len(table):,}"
                    " rows. They do not pair."
                )
        self.dims = {shape[1] for shape in shapes.values()}
        self._places = _PlaceTable(places) if places else None
        content = [[table.fingerprint(""), _digest(path)] for path, table in self._pairs]
        text = json.dumps([content, self._places and self._places.fingerprint])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()

    def __len__(self) -> int:
        """Rows."""
        return sum(len(table) for _, table in self._pairs)

    def __iter__(self) -> Iterator[Encoded]:
        """Each row with its vector at unit length, or why it cannot be used."""
        seen = SeenIds()
        for path, table in self._pairs:
            vectors, rows, start = _mapped(path), iter(table), 0
            while chunk := list(islice(rows, _CHUNK)):
                # A Parquet file has no row with more cells than another, as a CSV may.
                located = [row for row in chunk if not isinstance(row, Rejected)]
                part = np.asarray(vectors[start : start + len(chunk)], np.float64)
                yield from self._encoded(table.path.name, located, part, seen)
                start += len(chunk)

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
        if self._places:
            places = self._places.find(ids)
        else:
            places = [(row["lat"], row["lon"]) for row in rows]
        repeated = seen.add(ids)
        for row, identity, place, vector, length, again in zip(
            rows, ids, places, vectors, lengths, repeated, strict=True
        ):
            location: Location | str
            if not (row.get("id") or row.get("photo")):
                location = "it has no id and names no photograph"
            elif again:
                location = "duplicate id"
            elif not (np.isfinite(length) and length > 1e-6):
                location = "its vector has no direction"
            elif place is None:
                location = "its id is not in the table of coordinates"
            else:
                location = location_of(*place)
            if isinstance(location, str):
                yield Rejected(identity, location)
                continue
            photo = Photo(Path(row.get("photo") or identity))
            texts = (row.get(role, "") for role in ("label", "author", "license"))
            yield Item(identity, location, photo, *texts), (vector / length).astype(np.float32)


def check(embeddings: EmbeddingFolder, encoder: Encoder, photos: Path) -> Check:
    """Encode some rows' photographs again, of those in `photos`.

    Raises WrongEncoder where their vectors differ, SourceError where there is no photograph.
    """
    _require_dim(embeddings, encoder)
    store = Store(photos)
    entries = (entry for entry in embeddings if not isinstance(entry, Rejected))
    pairs: list[tuple[Photo, Embedding]] = []
    while len(pairs) < _CHECKED and (block := list(islice(entries, _CHUNK))):
        stored = store.find([str(item.photo.path) for item, _ in block])
        for photo, (_, vector) in zip(stored, block, strict=True):
            if isinstance(photo, Photo):
                pairs.append((photo, vector))
    del pairs[_CHECKED:]
    encoded = encoder.encode(photo for photo, _ in pairs)
    cosines = [
        float(vector @ again)
        for (_, vector), again in zip(pairs, encoded, strict=True)
        if not isinstance(again, Rejected)
    ]
    if not cosines:
        raise SourceError(
            f"{photos} has no photograph of these rows, so there is nothing to check them by. Leave"
            " --photos out."
        )
    result = Check(len(cosines), float(np.median(cosines)), min(cosines))
    if result.median < _SAME:
        raise WrongEncoder(
            f"These embeddings are not by {encoder.name}: of {result.photos} photos encoded again"
            f" the median cosine is {result.median:.3f}, and should be {_SAME} or more. Name the"
            " encoder that computed them."
        )
    return result


def build(
    embeddings: EmbeddingFolder,
    encoder: Encoder,
    folder: Path,
    *,
    alias: str,
    table: Mapping[str, Any],
    spec: str = "auto",
    check: Check | None = None,
    progress: Progress = lambda done: None,
) -> Gallery:
    """Build a gallery from them, or go on where an earlier call stopped.

    Raises GalleryError as `pipeline.build` does.
    """
    _require_dim(embeddings, encoder)
    spec = resolve_spec(spec, len(embeddings))
    with workspace(folder).locked():
        begin(folder, {"source": embeddings.fingerprint, "encoder": encoder.name})
        entries, number, done = iter(embeddings), 0, 0
        while shard := list(islice(entries, _CHUNK)):
            if not is_whole(paths := shard_paths(folder, number)):
                write_shard(paths, shard, encoder.dim, np.float16, embeddings.path.name)
            number, done = number + 1, done + len(shard)
            progress(done)
        stamp = {"name": encoder.name, "alias": alias, "table": dict(table)}
        about = {"source": embeddings.path.name, "of": "photos"}
        return index(folder, stamp, spec, about | {"imported": {"check": check and asdict(check)}})


class _PlaceTable:
    """Coordinates by id, or by a photograph's name or the end of its path: 32 bytes each."""

    def __init__(self, path: Path) -> None:
        table = open_table(path, ("lat", "lon"))
        roles = [role for role in ("id", "photo") if role in table.columns]
        if not roles:
            raise SourceError(f"{path} has no column for an id, nor one for the photo. Call it id.")
        self.fingerprint = table.fingerprint("")
        names: list[str] = []
        hashes: list[NDArray[np.uint64]] = []
        points = array("d")
        for row in table:
            place = None if isinstance(row, Rejected) else location_of(row[1]["lat"], row[1]["lon"])
            if isinstance(row, Rejected) or not isinstance(place, Location):
                continue
            for name in dict.fromkeys(key(row[1][role]) for role in roles if row[1][role]):
                names.append(name)
                points.extend((place.lat, place.lon))
            if len(names) >= _CHUNK:
                hashes.append(hashed(names))
                names = []
        keys = np.concatenate([*hashes, hashed(names)])
        if not len(keys):
            raise SourceError(f"{path} has no usable coordinates.")
        self._order = np.argsort(keys, kind="stable")
        self._keys = keys[self._order]
        self._points = np.array(points).reshape(-1, 2)

    def find(self, ids: list[str]) -> list[tuple[str, str] | None]:
        """Latitude and longitude of each id; None for an unknown one."""
        rows = np.full(len(ids), -1)
        endings = [partial(ending, parts=parts) for parts in range(DEEPEST, 0, -1)]
        forms: list[Callable[[str], str]] = [key, *endings]
        for form in forms:
            wanted = hashed(map(form, ids))
            at = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
            rows = np.where((rows < 0) & (self._keys[at] == wanted), self._order[at], rows)
        places = zip(rows, self._points[rows], strict=True)
        return [(str(lat), str(lon)) if row >= 0 else None for row, (lat, lon) in places]


def _require_dim(embeddings: EmbeddingFolder, encoder: Encoder) -> None:
    if embeddings.dims != {encoder.dim}:
        dims = ", ".join(map(str, sorted(embeddings.dims)))
        raise WrongEncoder(
            f"{embeddings.path} has vectors of {dims} dimensions, and {encoder.name} gives"
            f" {encoder.dim}."
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
    """Files of one number, whatever is before it and however many digits it has, by number."""
    if len(vectors) == 1:
        return [(vectors[0], tables[0])]
    arrays, rows = ({_number(path): path for path in paths} for paths in (vectors, tables))
    if len(arrays) < len(vectors) or len(rows) < len(tables):
        raise SourceError(
            f"{vectors[0].parent.parent} has several files of one number. Give each its own."
        )
    for one, other in ((arrays, rows), (rows, arrays)):
        if alone := sorted(path.name for number, path in one.items() if number not in other):
            raise SourceError(
                f"{alone[0]} has no other half: img_emb/ and metadata/ should have files of the"
                " same numbers."
            )
    return [(arrays[number], rows[number]) for number in sorted(arrays)]


def _number(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+$", path.stem)
    return (int(digits[0]), "") if digits else (-1, path.stem)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
