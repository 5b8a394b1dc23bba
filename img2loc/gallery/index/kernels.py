"""Arithmetic over many vectors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings

UNIT_TOLERANCE = 1e-3
"""By how much a unit vector's length may differ from 1."""
_MANY = 50_000
"""Rows in half precision from which loading onnxruntime pays: numpy widens them slowly."""
_WIDENED = 1_000_000  # Numbers: 4 MB.


def products(matrix: NDArray[np.generic], queries: Embeddings) -> Embeddings:
    """Inner products of queries (n, dim) and a matrix's rows, shape (n, rows), single precision."""
    queries = queries.astype(np.float32)
    if matrix.dtype == np.float32 and matrix.flags.aligned:
        return _products(np.asarray(matrix, np.float32), queries)
    # Half precision is widened piece by piece, into a place that stays in the processor's cache;
    # so are numbers that a file has at odd addresses, which numpy reads one by one, put in place.
    out = np.empty((len(queries), len(matrix)), dtype=np.float32)
    step = max(1, _WIDENED // matrix.shape[1])
    place = np.empty((step, matrix.shape[1]), dtype=np.float32)
    for start in range(0, len(matrix), step):
        part = matrix[start : start + step]
        out[:, start : start + step] = _products(_widened(part, place, len(matrix)), queries)
    return out


def _products(matrix: Embeddings, queries: Embeddings) -> Embeddings:
    if len(queries) == 1:  # BLAS takes twice as long over one.
        return np.asarray(np.vecdot(matrix, queries[0])[None])
    return np.asarray(queries @ matrix.T)


def _widened(rows: NDArray[Any], place: Embeddings, of: int) -> Embeddings:
    """Rows in single precision; in `place`, since new memory from the system each time is slow."""
    if rows.dtype == np.float32:
        np.copyto(place[: len(rows)], rows)
        return place[: len(rows)]
    if of >= _MANY:
        from img2loc.gallery.index.onnx_products import widened

        return widened(rows)
    return rows.astype(np.float32)


def lengths(vectors: Embeddings) -> Embeddings:
    """The length of each row, shape (n,)."""
    return np.asarray(np.sqrt(np.vecdot(vectors, vectors)))


def log_sum_exp(logits: Embedding) -> float:
    """Log Σ exp, in double precision; -∞ where there are no logits."""
    if not len(logits):
        return -np.inf
    wide = logits.astype(np.float64)
    return float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))
