"""Writes the files of a gallery from batches of unit rows and their metadata, in bounded memory."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from img2loc.core.errors import GalleryError
from img2loc.core.types import Embeddings
from img2loc.gallery.index import pruning as sketch
from img2loc.gallery.index.faiss_files import (
    VECTORS,
    FlatWriter,
    QuantizedWriter,
    check_unit,
    converted,
    matrix_dtype,
    new_index,
    train,
)
from img2loc.gallery.index.ivf_writer import MEANS, InvertedFileWriter
from img2loc.gallery.index.pruning import PruningWriter
from img2loc.gallery.metadata import COLUMNS, ROWS, schema

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Iterable[tuple[Embeddings, "pa.Table"]]
"""Unit rows of shape (n, dim), and their metadata, as `rows.table_of` makes it."""
FILES = (VECTORS, ROWS, *sketch.FILES, MEANS)
"""The files that a gallery may have, besides its manifest."""
PRUNING_FROM = 50_000
"""Rows from which a matrix in half precision gets pruning bounds; fewer are searched as quickly without."""
_ROWS_A_LIST = 64
"""Rows that a list's centroid is trained on."""
_TRAINING_ROWS = 32_768


class _Writer(Protocol):
    def add(self, vectors: Embeddings) -> None: ...
    def close(self) -> None: ...


def write(
    folder: Path, batches: Batches, rows: int, spec: str, pruning: bool = True
) -> tuple[int, int]:
    """Write vectors, metadata and, where they pay and `pruning` is wanted, pruning bounds; returns (rows, dim).

    `rows` is how many there will be. Raises GalleryError for rows that are not unit length or for
    none, and for batches that can be read only once where the spec must be trained first.
    """
    import pyarrow as pa

    writers: list[_Writer] = []
    dtype = matrix_dtype(spec)
    count = dim = 0
    with ExitStack() as open_files:
        sink = open_files.enter_context(pa.OSFile(str(folder / ROWS), "wb"))
        metadata = open_files.enter_context(pa.ipc.new_file(sink, schema()))
        for vectors, table in batches:
            check_unit(vectors, len(table))
            if not writers:
                dim = vectors.shape[1]
                writers = _writers(folder, batches, rows, spec, dim, pruning, open_files)
            metadata.write_table(table.select(COLUMNS).cast(schema()))
            stored = vectors if dtype is None else converted(vectors, dtype.name)
            for writer in writers:
                writer.add(stored)
            count += len(vectors)
        if not writers:
            raise GalleryError("There is not one row for the gallery.")
        for writer in writers:
            writer.close()
    return count, dim


def _writers(
    folder: Path,
    batches: Batches,
    rows: int,
    spec: str,
    dim: int,
    pruning: bool,
    open_files: ExitStack,
) -> list[_Writer]:
    index = new_index(spec, dim)
    if not index.is_trained:
        train(
            index,
            spec,
            _sample(batches, rows, max(_TRAINING_ROWS, _ROWS_A_LIST * getattr(index, "nlist", 0))),
        )
    if spec.startswith("IVF"):
        return [InvertedFileWriter(folder / VECTORS, index, open_files)]
    dtype = matrix_dtype(spec)
    if dtype is None:
        return [QuantizedWriter(folder / VECTORS, index)]
    flat = FlatWriter(folder / VECTORS, index, dtype, open_files)
    if dtype.itemsize == 4 or rows < PRUNING_FROM or not pruning or iter(batches) is batches:
        return [flat]
    return [flat, PruningWriter(folder, _sample(batches, rows, sketch.SAMPLE), open_files)]


def _sample(batches: Batches, rows: int, most: int) -> Embeddings:
    """A random sample of the rows, always the same.

    Raises GalleryError if batches can be read only once.
    """
    if iter(batches) is batches:
        raise GalleryError(
            "This index must be trained before rows are added: pass batches that can be iterated"
            " twice."
        )
    chosen = np.sort(np.random.default_rng(0).permutation(rows)[:most])
    sample: Embeddings = np.empty((0, 0), dtype=np.float32)
    start = filled = 0
    for vectors, _ in batches:
        rows_here = chosen[slice(*np.searchsorted(chosen, (start, start + len(vectors))))] - start
        if (
            not start
        ):  # One array at once: many small ones would fragment the memory between large ones.
            sample = np.empty((len(chosen), vectors.shape[1]), dtype=np.float32)
        sample[filled : filled + len(rows_here)] = vectors[rows_here]
        start, filled = start + len(vectors), filled + len(rows_here)
    return sample[:filled]
