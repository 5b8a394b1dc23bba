"""The file of an inverted index, in FAISS's own format, written in bounded memory: FAISS holds all of it until the end."""

import os
from array import array
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc import clusters
from img2loc.types import Embeddings

MEANS = "lists.npy"
"""How similar the rows of each list are to its centre on average, shape (lists,); 1 for a list without rows."""
_BATCH = 100_000
_SPARSE, _FULL = b"sprs", b"full"  # How FAISS tells the lists' sizes: by (list, size) of those with rows, or one size a list.


class InvertedFile:
    """Takes rows for a trained `faiss.IndexIVF`, and ends as the file that FAISS would write once they were added.

    The rows' codes wait in a file beside it, in the order in which they come; at the end each goes to its list.
    """

    def __init__(self, path: Path, index: Any) -> None:
        self._path, self._index = path, index
        self._centres: Embeddings = index.quantizer.reconstruct_n(0, index.nlist)
        self._waiting = path.with_suffix(".tmp")
        self._file = self._waiting.open("wb")
        self._lists = array("i")  # One that grows: small ones that stay would keep the memory between them from reuse.
        self._similar = np.zeros(index.nlist)

    def add(self, vectors: Embeddings) -> None:
        """Append rows of shape (n, dim)."""
        import faiss

        rows = np.ascontiguousarray(vectors, dtype=np.float32)
        lists, similar = clusters.nearest(rows, self._centres)
        self._similar += np.bincount(lists, similar, len(self._centres))
        codes = np.empty((len(rows), self._index.code_size), dtype=np.uint8)
        self._index.encode_vectors(len(rows), *(faiss.swig_ptr(array) for array in (rows, lists, codes)))
        self._file.write(codes.tobytes())
        self._lists.frombytes(lists.astype(np.int32).tobytes())

    def close(self) -> None:
        """Sort the codes into their lists."""
        self._file.close()
        lists, width = np.frombuffer(self._lists, np.int32), int(self._index.code_size)
        sizes = np.bincount(lists, minlength=len(self._centres)).astype(np.int64)
        np.save(self._path.with_name(MEANS), np.where(sizes, self._similar / np.maximum(sizes, 1), 1).astype(np.float32))
        header = self._header(sizes)
        starts = len(header) + (np.cumsum(sizes) - sizes) * (width + 8)  # A list is its rows' codes, then their numbers.
        filled = np.zeros_like(sizes)
        with self._waiting.open("rb") as waiting, self._path.open("wb") as out:
            out.write(header)
            out.flush()
            for first in range(0, len(lists), _BATCH):
                own = lists[first : first + _BATCH]
                codes = np.frombuffer(waiting.read(len(own) * width), dtype=np.uint8).reshape(len(own), width)
                order = np.argsort(own, kind="stable")
                present, begins = np.unique(own[order], return_index=True)
                for number, rows in zip(present, np.split(order, begins[1:]), strict=True):
                    start, size, done = int(starts[number]), int(sizes[number]), int(filled[number])
                    _write_at(out.fileno(), codes[rows].tobytes(), start + done * width)
                    _write_at(out.fileno(), (rows + first).astype("<i8").tobytes(), start + size * width + done * 8)
                    filled[number] += len(rows)
        self._waiting.unlink()

    def abandon(self) -> None:
        """Let go of the files without finishing them."""
        self._file.close()
        self._waiting.unlink(missing_ok=True)

    def _header(self, sizes: NDArray[np.int64]) -> bytes:
        import faiss

        header = faiss.serialize_index(self._index).tobytes()
        # It ends with the sizes of no lists: how they are told, and that there are none.
        header = header[: -len(_SPARSE) - 8]
        header = header[:8] + int(sizes.sum()).to_bytes(8, "little") + header[16:]
        used = np.flatnonzero(sizes)
        told = sizes if len(used) > len(sizes) // 2 else np.stack((used, sizes[used]), axis=1).ravel()
        kind = _FULL if told is sizes else _SPARSE
        return header + kind + len(told).to_bytes(8, "little") + told.astype("<i8").tobytes()


def _write_at(file: int, content: bytes, offset: int) -> None:
    """All of it: one call may write a part, as when a disk is nearly full."""
    while content:
        done = os.pwrite(file, content, offset)
        content, offset = content[done:], offset + done
