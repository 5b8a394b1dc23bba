"""A gallery's own rows as photographs to ask about: without their photographer and their copies."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError
from img2loc.core.types import Embedding, Embeddings, Location, Photo, Rejected, RowNumbers
from img2loc.gallery.build.shards import Shards
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.search import NO_ROWS

NEAR_DUPLICATE = 0.95
"""A row at least so similar shows the same view, and is left out too."""
_MOST_IN_FOLDER = 0.5  # Of the rows: a folder with more says nothing about who took them.
_CELL = 100  # Of a degree: about a kilometre.
_AT_ONCE = 64
_LIKELY = 64  # Near-duplicates of one row, at most, that one search finds.
Codes = NDArray[np.int64]


class OwnRows:
    """Some rows of a gallery of photographs, as an Encoder of theirs and as Exclusions.

    A row is asked about by its stored vector. Left out for it are itself, the rows of its
    photographer, those of its folder, and its near-duplicates. Raises GalleryError for a gallery
    that is not of photographs, or whose vectors cannot be had by row.
    """

    similarity = NEAR_DUPLICATE

    def __init__(self, gallery: Gallery, rows: Sequence[int]) -> None:
        if gallery.of != "photos":
            raise GalleryError(
                f"The gallery {gallery.folder} is of {gallery.of}, which are no photos to ask"
                " about. Calibrate by a benchmark: img2loc bench calibrate."
            )
        self.name, self.dim = gallery.encoder_name, gallery.dim
        self._vectors = dict(zip(rows, _vectors(gallery, rows), strict=True))
        self._authors, self._folders = _column(gallery, "author"), _folders(gallery)
        self._places = gallery.metadata.locations()
        self._copies = dict(_copies(gallery, self._vectors))

    def photos(self, rows: Iterable[int]) -> Iterator[Photo]:
        """Photographs that stand for rows."""
        return (Photo(Path(str(row))) for row in rows)

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """The stored vector of each."""
        return (self._vectors[_row(photo)] for photo in photos)

    def __call__(self, photo: Photo) -> RowNumbers:
        """The rows that are left out for a photograph."""
        row = _row(photo)
        out = [np.array([row]), self._copies.get(row, np.empty(0, dtype=np.int64))]
        out += [
            np.flatnonzero(codes == codes[row])
            for codes in (self._authors, self._folders)
            if codes[row] >= 0
        ]
        return np.unique(np.concatenate(out))

    def add(self, photo: Photo, rows: RowNumbers) -> None:
        """Leave these rows out too: they turned out to be near-duplicates."""
        self._copies[_row(photo)] = rows

    def place(self, row: int) -> Location:
        """Where a row's photograph was taken."""
        return Location(*self._places[row].tolist())

    def clusters(self, rows: Sequence[int]) -> tuple[Codes, str]:
        """Whose each row is, shape (n,), and what was counted.

        A row whose photographer is not known counts with those of its folder, else with those
        within about a kilometre: they may be of one walk.
        """
        cells = np.floor(self._places[np.array(rows, dtype=np.int64)] * _CELL).astype(np.int64)
        keys = [
            ("author", int(self._authors[row]), 0)
            if self._authors[row] >= 0
            else ("folder", int(self._folders[row]), 0)
            if self._folders[row] >= 0
            else ("place", *map(int, cell))
            for row, cell in zip(rows, cells, strict=True)
        ]
        kinds = {"author": "photographers", "folder": "folders", "place": "places"}
        counted = [name for kind, name in kinds.items() if any(key[0] == kind for key in keys)]
        codes = {key: code for code, key in enumerate(dict.fromkeys(keys))}
        return np.array([codes[key] for key in keys], dtype=np.int64), " and ".join(counted)


def _row(photo: Photo) -> int:
    return int(photo.path.name)


def _vectors(gallery: Gallery, rows: Sequence[int]) -> Embeddings:
    """The unit vectors of rows, shape (n, dim)."""
    wanted = np.array(rows, dtype=np.int64)
    batches: Iterable[NDArray[np.generic]] = gallery.index.vectors()
    if str(gallery.manifest["spec"]).startswith("IVF"):  # It has its rows in another order.
        batches = (vectors for vectors, _ in Shards.of(gallery.folder, rows=len(gallery)))
    found = np.empty((len(wanted), gallery.dim), dtype=np.float32)
    start = 0
    for batch in batches:
        held = np.flatnonzero((wanted >= start) & (wanted < start + len(batch)))
        found[held] = batch[wanted[held] - start]
        start += len(batch)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))


def _copies(gallery: Gallery, vectors: dict[int, Embedding]) -> Iterator[tuple[int, RowNumbers]]:
    """The near-duplicates of rows; many are searched at once, which is quicker than one by one."""
    rows = list(vectors)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        queries = np.stack([vectors[row] for row in some])
        found = gallery.index.search(queries, _LIKELY, 0, [NO_ROWS] * len(some))
        for row, query, result in zip(some, queries, found, strict=True):
            near = result.nearest.similarities >= NEAR_DUPLICATE
            whole = near.all() and len(gallery) > len(near)
            yield (
                row,
                gallery.rows_within(query, NEAR_DUPLICATE) if whole else result.nearest.rows[near],
            )


def _column(gallery: Gallery, name: str) -> Codes:
    """A number for each text of a column, by row; -1 for none."""
    import pyarrow.compute as pc

    return _codes(gallery, name, lambda column: pc.utf8_trim_whitespace(column))


def _folders(gallery: Gallery) -> Codes:
    """A number for each folder, by row; -1 where there is none, or where most rows are in it."""
    import pyarrow.compute as pc

    codes = _codes(gallery, "id", lambda ids: pc.replace_substring_regex(ids, r"[^/]*$", ""))
    counts = np.bincount(codes + 1)
    counts[0] = 0
    return np.where(counts[codes + 1] > _MOST_IN_FOLDER * len(codes), -1, codes)


def _codes(gallery: Gallery, name: str, prepare: Any) -> Codes:
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = [prepare(batch[name]) for batch in gallery.metadata.batches()]
    encoded = pc.dictionary_encode(pa.chunked_array(texts).combine_chunks())
    codes = np.asarray(encoded.indices, dtype=np.int64)
    names = encoded.dictionary.to_pylist()
    return np.where(codes == names.index(""), -1, codes) if "" in names else codes
