"""The files of a gallery, from batches of unit rows and what they are rows of, in bounded memory."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from img2loc import sketch
from img2loc.errors import GalleryError
from img2loc.inverted import MEANS, InvertedFile
from img2loc.rows import ROWS, RowsFile
from img2loc.sketch import SketchFile
from img2loc.types import Embeddings
from img2loc.vectors import MatrixFile, WholeFile, check_unit, converted, matrix_dtype, new_index, train

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Iterable[tuple[Embeddings, "pa.Table"]]
"""Unit rows of shape (n, dim), and the table of what they are rows of, as `rows.table_of` makes it."""
VECTORS = "gallery.faiss"
FILES = (VECTORS, ROWS, *sketch.FILES, MEANS)
"""What a gallery may consist of, besides its manifest."""
SKETCH_FROM = 50_000
"""Rows from which a matrix in half precision gets a sketch; fewer are read as quickly as they are."""
_ROWS_A_LIST = 64
"""Rows that the centre of a list is trained on."""
_TRAINING_ROWS = 32_768


class _Takes(Protocol):
    def add(self, vectors: Embeddings) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


def write(folder: Path, batches: Batches, rows: int, spec: str, sketched: bool = True) -> tuple[int, int]:
    """Write vectors, rows and, where it pays and is wanted, a sketch into an empty folder; returns the rows and their length.

    `rows` is how many there will be. Raises GalleryError for rows that are not unit length or for none, and for batches that can
    be read but once where the spec must be trained first.
    """
    files: list[_Takes] = []
    dtype = matrix_dtype(spec)
    count = dim = 0
    with ExitStack() as stack, RowsFile(folder / ROWS) as named:
        for vectors, table in batches:
            check_unit(vectors, len(table))
            if not files:
                dim = vectors.shape[1]
                files = _files(folder, batches, rows, spec, dim, sketched)
                for file in files:
                    stack.callback(file.abandon)
            named.add(table)
            stored = vectors if dtype is None else converted(vectors, dtype.name)
            for file in files:
                file.add(stored)
            count += len(vectors)
        if not files:
            raise GalleryError("There is not one row for the gallery.")
        for file in files:
            file.close()
    return count, dim


def _files(folder: Path, batches: Batches, rows: int, spec: str, dim: int, sketched: bool) -> list[_Takes]:
    index = new_index(spec, dim)
    if not index.is_trained:
        train(index, spec, _sample(batches, rows, max(_TRAINING_ROWS, _ROWS_A_LIST * getattr(index, "nlist", 0))))
    if spec.startswith("IVF"):
        return [InvertedFile(folder / VECTORS, index)]
    dtype = matrix_dtype(spec)
    if dtype is None:
        return [WholeFile(folder / VECTORS, index)]
    matrix = MatrixFile(folder / VECTORS, index, dtype)
    if dtype.itemsize == 4 or rows < SKETCH_FROM or not sketched or iter(batches) is batches:
        return [matrix]
    return [matrix, SketchFile(folder, _sample(batches, rows, sketch.SAMPLE))]


def _sample(batches: Batches, rows: int, most: int) -> Embeddings:
    """A random sample of the rows, always the same. Raises GalleryError if batches can be read but once."""
    if iter(batches) is batches:
        raise GalleryError("This index must be trained before rows are added: pass batches that can be iterated twice.")
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    found: Embeddings | None = None
    start = at = 0
    for vectors, _ in batches:
        own = chosen[slice(*np.searchsorted(chosen, (start, start + len(vectors))))] - start
        if found is None:  # At once: small arrays that stay between large ones that go would keep the memory of all from reuse.
            found = np.empty((len(chosen), vectors.shape[1]), dtype=np.float32)
        found[at : at + len(own)] = vectors[own]
        start, at = start + len(vectors), at + len(own)
    return np.empty((0, 0), dtype=np.float32) if found is None else found[:at]
