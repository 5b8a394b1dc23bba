"""Writes the files of a gallery from batches of unit rows and their metadata, in bounded memory."""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from img2loc.core.errors import GalleryError
from img2loc.core.types import Embeddings
from img2loc.gallery.index import pruning
from img2loc.gallery.index.faiss_files import VECTORS, FlatWriter, QuantizedWriter, new_index, train
from img2loc.gallery.index.ivf_writer import MEANS, InvertedFileWriter
from img2loc.gallery.index.kernels import UNIT_TOLERANCE, lengths
from img2loc.gallery.index.pruning_writer import SAMPLE, PruningWriter
from img2loc.gallery.index.spec import matrix_dtype
from img2loc.gallery.metadata import ROWS, complete, schema

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Iterable[tuple[Embeddings, "pa.Table"]]
"""Unit rows of shape (n, dim), and their metadata, as `metadata.table_of` gives it."""
FILES = (VECTORS, ROWS, *pruning.FILES, *pruning.OLD_FILES, MEANS)
"""The files that a gallery may have, besides its manifest."""
_ROWS_A_LIST = 64
"""Rows that a list's centroid is trained on."""
_TRAINING_ROWS = 32_768


class _Writer(Protocol):
    def add(self, vectors: Embeddings) -> None: ...
    def close(self) -> None: ...


def write(
    folder: Path, batches: Batches, rows: int, spec: str, of: str = "photos"
) -> tuple[int, int]:
    """Write vectors, metadata and, where they pay, pruning bounds; returns (rows, dim).

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
            _require_unit(vectors, len(table))
            if not writers:
                dim = vectors.shape[1]
                writers.append(_index_writer(folder, batches, rows, spec, dim, open_files))
                if pruning.applies(spec, rows, of) and iter(batches) is not batches:
                    sample = _sample(batches, rows, SAMPLE)
                    writers.append(PruningWriter(folder, sample, open_files))
            metadata.write_table(complete(table))
            stored = vectors if dtype is None else vectors.astype(dtype, copy=False)
            for writer in writers:
                writer.add(stored)
            count += len(vectors)
        if not writers:
            raise GalleryError("There is not one row for the gallery.")
        for writer in writers:
            writer.close()
    return count, dim


def _index_writer(
    folder: Path, batches: Batches, rows: int, spec: str, dim: int, open_files: ExitStack
) -> _Writer:
    path, index = folder / VECTORS, new_index(spec, dim)
    if not index.is_trained:
        size = max(_TRAINING_ROWS, _ROWS_A_LIST * getattr(index, "nlist", 0))
        train(index, spec, _sample(batches, rows, size))
    if spec.startswith("IVF"):
        return InvertedFileWriter(path, index, open_files)
    dtype = matrix_dtype(spec)
    if dtype is None:
        return QuantizedWriter(path, index)
    return FlatWriter(path, index, dtype, open_files)


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
        # One array at once: many small ones would fragment the memory between large ones.
        if not start:
            sample = np.empty((len(chosen), vectors.shape[1]), dtype=np.float32)
        sample[filled : filled + len(rows_here)] = vectors[rows_here]
        start, filled = start + len(vectors), filled + len(rows_here)
    return sample[:filled]


def _require_unit(vectors: Embeddings, rows: int) -> None:
    """Raise GalleryError unless there is a vector of unit length for each row."""
    if len(vectors) != rows:
        raise GalleryError(
            f"{len(vectors)} vectors came with {rows} rows; each needs one of the other."
        )
    norms = lengths(vectors)
    off = np.abs(norms - 1)
    if not np.all(off < UNIT_TOLERANCE):
        worst = norms[np.argmax(off)]  # NaN counts as the largest.
        raise GalleryError(
            f"A vector has length {worst:.4g}; a gallery takes unit vectors only. Divide by the"
            " norm first."
        )
