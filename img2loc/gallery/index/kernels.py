"""Arithmetic over many vectors, by torch: numpy takes five times as long over half precision."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings

UNIT_TOLERANCE = 1e-3
"""By how much a unit vector's length may differ from 1."""
_WIDENED = 1_000_000  # Numbers: 4 MB.


def products(matrix: NDArray[np.generic], queries: Embeddings) -> Embeddings:
    """Inner products of queries (n, dim) and a matrix's rows, shape (n, rows), single precision."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(queries.T, dtype=np.float32))
    rows, out = torch.from_numpy(matrix), torch.empty(len(matrix), len(queries))
    if rows.dtype == torch.float32:
        torch.mm(rows, columns, out=out)
    else:
        # Half precision is widened piece by piece, into one place that stays in the processor's
        # cache.
        step = max(1, _WIDENED // matrix.shape[1])
        wide = torch.empty(min(step, len(matrix)), matrix.shape[1])
        for start in range(0, len(matrix), step):
            part = wide[: len(matrix) - start].copy_(rows[start : start + step])
            torch.mm(part, columns, out=out[start : start + step])
    return np.asarray(out.T.numpy())


def converted(vectors: NDArray[np.generic], dtype: str) -> NDArray[Any]:
    """The vectors as "float16" or "float32"."""
    import torch

    return np.asarray(torch.from_numpy(vectors).to(getattr(torch, dtype)).numpy())


def lengths(vectors: Embeddings) -> Embeddings:
    """The length of each row, shape (n,)."""
    import torch

    return np.asarray(torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1).numpy())


def log_sum_exp(logits: Embedding) -> float:
    """Log Σ exp, in double precision; -∞ where there are no logits."""
    import torch

    return float(torch.logsumexp(torch.from_numpy(logits).double(), dim=0))
