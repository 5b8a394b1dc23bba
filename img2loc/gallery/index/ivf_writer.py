"""Writes an inverted file in FAISS's own format in bounded memory;

FAISS itself holds all of it until the end.
"""

import os
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings
from img2loc.gallery.index import kmeans

MEANS = "lists.npy"
"""The mean cosine of each list's rows to its centroid, shape (lists,); 1 for a list without rows."""
_BATCH = 100_000
_SPARSE, _FULL = (
    b"sprs",
    b"full",
)  # FAISS writes the lists' sizes as (list, size) of those with rows, or one size a list.


class InvertedFileWriter:
    """Writes the file that FAISS would write once the rows were added to a trained `faiss.IndexIVF`.

    The rows' codes go to a temporary file in the order in which they come; at the end each is
    copied to its list. `open_files` closes it if the build fails.
    """

    def __init__(self, path: Path, index: Any, open_files: ExitStack) -> None:
        self._path, self._index = path, index
        self._centroids: Embeddings = index.quantizer.reconstruct_n(0, index.nlist)
        self._temporary = path.with_suffix(".tmp")
        self._file = open_files.enter_context(self._temporary.open("wb"))
        self._lists = array(
            "i"
        )  # One growing array: many small ones would fragment the memory between them.
        self._cosines = np.zeros(index.nlist)  # Sums over each list's rows.

    def add(self, vectors: Embeddings) -> None:
        """Append rows of shape (n, dim)."""
        import faiss

        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        lists, cosines = kmeans.nearest(rows, self._centroids)
        self._cosines += np.bincount(lists, cosines, len(self._centroids))
        codes = np.empty((len(rows), self._index.code_size), dtype=np.uint8)
        self._index.encode_vectors(
            len(rows), *(faiss.swig_ptr(array) for array in (rows, lists, codes))
        )
        self._file.write(codes.tobytes())
        self._lists.frombytes(lists.astype(np.int32).tobytes())

    def close(self) -> None:
        """Sort the codes into their lists, and write the mean cosines."""
        self._file.close()
        lists, width = np.frombuffer(self._lists, np.int32), int(self._index.code_size)
        sizes = np.bincount(lists, minlength=len(self._centroids)).astype(np.int64)
        np.save(
            self._path.with_name(MEANS),
            np.where(sizes, self._cosines / np.maximum(sizes, 1), 1).astype(np.float32),
        )
        header = self._header(sizes)
        starts = len(header) + (np.cumsum(sizes) - sizes) * (
            width + 8
        )  # A list is its rows' codes, then their numbers.
        filled = np.zeros_like(sizes)
        with self._temporary.open("rb") as unsorted, self._path.open("wb") as out:
            out.write(header)
            out.flush()
            for first in range(0, len(lists), _BATCH):
                batch = lists[first : first + _BATCH]
                codes = np.frombuffer(unsorted.read(len(batch) * width), dtype=np.uint8).reshape(
                    len(batch), width
                )
                order = np.argsort(batch, kind="stable")
                present, begins = np.unique(batch[order], return_index=True)
                for number, rows in zip(present, np.split(order, begins[1:]), strict=True):
                    start, size, done = int(starts[number]), int(sizes[number]), int(filled[number])
                    _write_at(out.fileno(), codes[rows].tobytes(), start + done * width)
                    _write_at(
                        out.fileno(),
                        (rows + first).astype("<i8").tobytes(),
                        start + size * width + done * 8,
                    )
                    filled[number] += len(rows)
        self._temporary.unlink()

    def _header(self, sizes: NDArray[np.int64]) -> bytes:
        import faiss

        header = faiss.serialize_index(self._index).tobytes()
        header = header[
            : -len(_SPARSE) - 8
        ]  # Less the sizes of an index without rows: their format and their number, 0.
        header = header[:8] + int(sizes.sum()).to_bytes(8, "little") + header[16:]
        used = np.flatnonzero(sizes)
        full = len(used) > len(sizes) // 2
        written = sizes if full else np.stack((used, sizes[used]), axis=1).ravel()
        return (
            header
            + (_FULL if full else _SPARSE)
            + len(written).to_bytes(8, "little")
            + written.astype("<i8").tobytes()
        )


def _write_at(file: int, content: bytes, offset: int) -> None:
    """Write all of it: one call may write only a part, as when a disk is nearly full."""
    while content:
        done = os.pwrite(file, content, offset)
        content, offset = content[done:], offset + done
