"""The file of a gallery's vectors: FAISS's format; where it is a plain matrix, written as a stream and read as one."""

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.errors import GalleryError, first_line
from img2loc.types import Embeddings, Item

FLAT_LIMIT = 100_000
"""Rows up to which the automatic spec keeps single precision; beyond, half precision halves memory and time."""

_MATRICES: dict[str, np.dtype[Any]] = {"Flat": np.dtype("<f4"), "SQfp16": np.dtype("<f2")}
LENGTH = 1e-3
"""How far from 1 a unit vector's length may be."""
_CHUNK = 65_536
_TRAINING_ROWS = 262_144
# Transforms (PCA, OPQ) shift vectors, so that the negated query is no longer the farthest; PQ loses the far end.
_SERVES_BOTH_ENDS = re.compile(r"(?:IVF[1-9]\d{0,6}(?:_HNSW\d+)?,)?(?:Flat|SQfp16|SQbf16|SQ8|SQ6|SQ4)")
Sample = Callable[[], Embeddings]
"""Gives the rows that an index is trained on, where it needs any."""


def resolve_spec(spec: str, rows: int) -> str:
    """The FAISS factory string that "auto" stands for, or the given one. Raises GalleryError for what cannot serve both ends."""
    if spec == "auto":
        return "Flat" if rows <= FLAT_LIMIT else "SQfp16"
    refuse_graphs(spec)
    if not _SERVES_BOTH_ENDS.fullmatch(spec):
        raise GalleryError(
            f"The index {spec!r} is not known to find both the nearest and the farthest. Choose Flat, SQfp16, SQ8, or an "
            "inverted file over them, such as IVF4096,SQfp16."
        )
    return spec


def refuse_graphs(name: str) -> None:
    """Raise GalleryError for the spec or class of a graph index."""
    # "IVF4096_HNSW32" only chooses lists by a graph, which is fine: every list is read.
    if re.search(r"(^|,|Index)(HNSW|NSG|NNDescent)", name):
        raise GalleryError(
            f"{name!r} is a graph index: it finds the nearest but only one to three in ten of the farthest (measured). "
            "Choose Flat, SQfp16, SQ8 or an inverted file such as IVF4096,SQfp16."
        )


class VectorFile:
    """Takes rows, and ends as a FAISS index file. A plain matrix goes to the disk as it comes; others are held until the end."""

    def __init__(self, path: Path, spec: str, dim: int, sample: Sample) -> None:
        import faiss

        self.rows, self.dim = 0, dim
        self._path = path
        self._index = _new_index(spec, dim)
        if not self._index.is_trained:
            _train(self._index, spec, sample())
        self._matrix = _MATRICES.get(spec)
        self._file = None
        if self._matrix is not None:
            self._header = faiss.serialize_index(self._index).tobytes()
            self._file = path.open("wb")
            self._file.write(self._header)

    def add(self, vectors: Embeddings) -> None:
        """Append rows of shape (n, dim)."""
        if self._file is None:
            self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        else:
            self._file.write(np.ascontiguousarray(vectors, dtype=self._matrix).tobytes())
        self.rows += len(vectors)

    def close(self) -> None:
        """Finish the file."""
        import faiss

        if self._file is None:
            faiss.write_index(self._index, str(self._path))
            return
        # FAISS's file of an empty matrix ends with the length of its (here missing) data, counted in numbers for Flat and in
        # bytes for the others; the number of rows stands behind its name and dimension.
        assert self._matrix is not None
        unit = 1 if self._matrix.itemsize == 2 else self._matrix.itemsize
        length = self.rows * self.dim * self._matrix.itemsize // unit
        for offset, value in ((8, self.rows), (len(self._header) - 8, length)):
            self._file.seek(offset)
            self._file.write(value.to_bytes(8, "little"))
        self._file.close()

    def abandon(self) -> None:
        """Let go of the file without finishing it."""
        if self._file is not None:
            self._file.close()


def matrix_of(index: Any) -> NDArray[np.generic] | None:
    """The rows of an opened index where they lie in memory as a plain matrix, shape (n, dim), float32 or float16; else None."""
    import faiss

    if isinstance(index, faiss.IndexFlat):
        dtype = _MATRICES["Flat"]
    elif isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16:
        dtype = _MATRICES["SQfp16"]
    else:
        return None
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.view(dtype).reshape(index.ntotal, index.d)


def products(matrix: NDArray[np.generic], queries: Embeddings) -> Embeddings:
    """Inner products of queries (n, dim) with the rows of a matrix, shape (n, rows), in single precision; one pass over it."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(queries.T, dtype=np.float32))
    out = torch.empty(len(matrix), len(queries))
    for start in range(0, len(matrix), _CHUNK):  # Half precision is widened a chunk at a time, or it would need the room at once.
        rows = torch.from_numpy(matrix[start : start + _CHUNK]).float()
        torch.mm(rows, columns, out=out[start : start + len(rows)])
    found: Embeddings = out.T.numpy()
    return found


def _new_index(spec: str, dim: int) -> Any:
    import faiss

    try:
        return faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise GalleryError(f"FAISS does not know the index {spec!r} ({first_line(error)}). Try Flat or SQfp16.") from error


def _train(index: Any, spec: str, sample: Embeddings) -> None:
    try:
        index.train(sample)
    except RuntimeError as error:
        raise GalleryError(
            f"{len(sample)} rows are too few to train the index {spec!r} ({first_line(error)}). Choose Flat."
        ) from error


def training_sample(batches: Iterable[tuple[Embeddings, Sequence[Item]]], rows: int) -> Embeddings:
    """A random sample of the rows, always the same, to train on. Raises GalleryError if batches can be read but once."""
    if iter(batches) is batches:
        raise GalleryError("This index must be trained before rows are added: pass batches that can be iterated twice.")
    share = min(1.0, _TRAINING_ROWS / max(rows, 1))
    random = np.random.default_rng(0)
    return np.concatenate([vectors[random.random(len(vectors)) < share] for vectors, _ in batches])


def check_unit(vectors: Embeddings, items: int) -> None:
    """Raise GalleryError unless there is a vector of unit length for each item."""
    if len(vectors) != items:
        raise GalleryError(f"{len(vectors)} vectors came with {items} items; each needs one of the other.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1) < LENGTH):
        worst = lengths[np.argmax(np.abs(lengths - 1))] if np.isfinite(lengths).all() else float("nan")
        raise GalleryError(f"A vector has length {worst:.4g}; a gallery takes unit vectors only. Divide by the norm first.")
