"""Writes an inverted file in FAISS's own format in bounded memory (FAISS holds all of it).

The files are those of FAISS 1.12, 1.13, 1.14 and 1.15, byte for byte; tests compare them with the
installed version.
"""

import os
from array import array
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings
from img2loc.gallery.index import kmeans

MEANS = "lists.npy"
"""The mean cosine of each list's rows to its centroid, shape (lists,); 1 for an empty list."""
_BATCH = 100_000
# FAISS writes the lists' sizes as (list, size) of those with rows, or as one size a list.
_SPARSE, _FULL = b"sprs", b"full"


class InvertedFileWriter:
    """Writes the file that FAISS writes of a trained `faiss.IndexIVF` with all rows.

    The rows' codes go to a temporary file in the order in which they come; `close` copies each to
    its list. `open_files` closes it if the build fails.
    """

    def __init__(self, path: Path, index: Any, open_files: ExitStack) -> None:
        self._path, self._index = path, index
        self._centroids: Embeddings = index.quantizer.reconstruct_n(0, index.nlist)
        self._temporary = path.with_suffix(".tmp")
        self._file = open_files.enter_context(self._temporary.open("wb"))
        # One growing array: many small ones would fragment the memory between them.
        self._lists = array("i")
        self._cosines = np.zeros(index.nlist)  # Sums over each list's rows.

    def add(self, vectors: Embeddings) -> None:
        """Append rows of shape (n, dim)."""
        import faiss

        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        lists, cosines = kmeans.nearest(rows, self._centroids)
        self._cosines += np.bincount(lists, cosines, len(self._centroids))
        codes = np.empty((len(rows), self._index.code_size), dtype=np.uint8)
        pointers = [faiss.swig_ptr(array) for array in (rows, lists, codes)]
        self._index.encode_vectors(len(rows), *pointers)
        self._file.write(codes.tobytes())
        self._lists.frombytes(lists.astype(np.int32).tobytes())

    def close(self) -> None:
        """Sort the codes into their lists, and write the mean cosines."""
        self._file.close()
        lists, width = np.frombuffer(self._lists, np.int32), int(self._index.code_size)
        sizes = np.bincount(lists, minlength=len(self._centroids)).astype(np.int64)
        means = np.where(sizes, self._cosines / np.maximum(sizes, 1), 1)
        np.save(self._path.with_name(MEANS), means.astype(np.float32))
        header = self._header(sizes)
        # A list is its rows' codes, then their numbers.
        starts = len(header) + (np.cumsum(sizes) - sizes) * (width + 8)
        filled = np.zeros_like(sizes)
        with self._temporary.open("rb") as unsorted, self._path.open("wb") as out:
            out.write(header)
            out.flush()
            for first in range(0, len(lists), _BATCH):
                batch = lists[first : first + _BATCH]
                codes = np.frombuffer(unsorted.read(len(batch) * width), np.uint8)
                codes = codes.reshape(len(batch), width)
                order = np.argsort(batch, kind="stable")
                present, begins = np.unique(batch[order], return_index=True)
                for number, rows in zip(present, np.split(order, begins[1:]), strict=True):
                    start, done = int(starts[number]), int(filled[number])
                    numbers = start + int(sizes[number]) * width
                    _write_at(out, codes[rows], start + done * width)
                    _write_at(out, (rows + first).astype("<i8"), numbers + done * 8)
                    filled[number] += len(rows)
        self._temporary.unlink()

    def _header(self, sizes: NDArray[np.int64]) -> bytes:
        import faiss

        header = faiss.serialize_index(self._index).tobytes()
        # Less the sizes of an index without rows: their format and their number, 0.
        header = header[: -len(_SPARSE) - 8]
        header = header[:8] + int(sizes.sum()).to_bytes(8, "little") + header[16:]
        used = np.flatnonzero(sizes)
        full = len(used) > len(sizes) // 2
        written = sizes if full else np.stack((used, sizes[used]), axis=1).ravel()
        count = len(written).to_bytes(8, "little")
        return header + (_FULL if full else _SPARSE) + count + written.astype("<i8").tobytes()


def _write_at(file: BinaryIO, array: NDArray[np.generic], offset: int) -> None:
    """Write all of it: one call may write only a part, as when a disk is nearly full."""
    content = array.tobytes()
    while content:
        done = os.pwrite(file.fileno(), content, offset)
        content, offset = content[done:], offset + done
