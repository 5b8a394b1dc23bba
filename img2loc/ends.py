"""Both ends of an opened index for one query: rows and their similarities, ties by row."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from img2loc.sketch import Sketch
from img2loc.types import Embedding
from img2loc.vectors import products

End = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Row numbers and similarities, best first."""
Excluded = NDArray[np.int64]

_MARGIN = 16  # Candidates fetched from FAISS beyond k, so that near-ties at the cut are settled by the exact score.
_ROUNDING = 1e-5  # Largest difference seen between a single-precision score and the exact one.


class Ends(Protocol):
    """Finds the `near` most similar and the `far` least similar rows that are not excluded; fewer where there are fewer."""

    def find(
        self, query: Embedding, near: int, far: int, excluded: Excluded, scale: float | None
    ) -> tuple[End, End, float | None]:
        """Both ends, and with `scale` the logarithm of Σ exp(scale · similarity) over the rows; None where that is not known."""


class Matrix:
    """Exact, over rows that lie as a plain matrix: every row is looked at, or every row's sketch."""

    def __init__(self, matrix: NDArray[np.generic], sketch: Sketch | None) -> None:
        self.matrix, self._sketch = matrix, sketch

    def find(
        self, query: Embedding, near: int, far: int, excluded: Excluded, scale: float | None
    ) -> tuple[End, End, float | None]:
        """Both ends, from one pass over memory."""
        available = len(self.matrix) - len(excluded)
        counts = ((min(near, available), 1), (min(far, available), -1))
        if scale is None and self._sketch is not None:
            estimates = self._sketch.estimates(query)
            kept = [
                estimates.candidates(k, sign, excluded, lambda rows: self._exact(query, rows)) if k else _NONE
                for k, sign in counts
            ]
            if all(rows is not None for rows in kept):
                first, last = (
                    self._best(query, rows, *count) for rows, count in zip(kept, counts, strict=True) if rows is not None
                )
                return first, last, None
        scores = products(self.matrix, query[None])[0]
        scores[excluded] = np.nan
        first, last = (self._best(query, _above_cut(scores, k, sign), k, sign) for k, sign in counts)
        return first, last, None if scale is None else _log_total(scale * scores[~np.isnan(scores)])

    def _exact(self, query: Embedding, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        # Row by row, so that equal vectors get equal scores wherever they stand (a BLAS product does not promise it).
        scores: NDArray[np.float64] = (self.matrix[rows].astype(np.float64) * query.astype(np.float64)).sum(axis=1)
        return scores

    def _best(self, query: Embedding, candidates: NDArray[np.int64], k: int, sign: int) -> End:
        return ordered(candidates, self._exact(query, candidates), k, sign)


class Scalars:
    """Every row of FAISS's scalar quantizers, which rounds rows to fewer bits."""

    def __init__(self, index: Any) -> None:
        self._index = index

    def find(
        self, query: Embedding, near: int, far: int, excluded: Excluded, scale: float | None
    ) -> tuple[End, End, float | None]:
        """Both ends, by FAISS."""
        import faiss

        make: Any = faiss.SearchParameters
        params = make(**_selector(excluded))
        available = self._index.ntotal - len(excluded)
        first, last = (self._end(query, min(k, available), available, sign, params) for k, sign in ((near, 1), (far, -1)))
        return first, last, None

    def _end(self, query: Embedding, k: int, available: int, sign: int, params: Any) -> End:
        if k == 0:
            return _NONE, np.empty(0)
        _, found = self._index.search(sign * query[None].astype(np.float32), min(k + _MARGIN, available), params=params)
        candidates = found[0][found[0] >= 0]
        vectors = self._index.reconstruct_batch(candidates).astype(np.float64)
        return ordered(candidates, (vectors * query.astype(np.float64)).sum(axis=1), k, sign)


class Lists:
    """The most promising lists of an inverted file, of which the far end needs more than the near end.

    `probes` has the two numbers, {"near", "far"}; without it every list is read.
    """

    def __init__(self, index: Any, probes: Mapping[str, int] | None) -> None:
        self._index = index
        index.parallel_mode = 1  # One query's lists are shared among the cores; FAISS's usual way is to share the queries.
        self.probes = (probes["near"], probes["far"]) if probes else (int(index.nlist), int(index.nlist))

    def find(
        self, query: Embedding, near: int, far: int, excluded: Excluded, scale: float | None
    ) -> tuple[End, End, float | None]:
        """Both ends, as far as the lists that are read hold them."""
        available = self._index.ntotal - len(excluded)
        counts = ((min(near, available), 1), (min(far, available), -1))
        first, last = (self._end(query, k, sign, probes, excluded) for (k, sign), probes in zip(counts, self.probes, strict=True))
        return first, last, None

    def _end(self, query: Embedding, k: int, sign: int, probes: int, excluded: Excluded) -> End:
        import faiss

        if k == 0:
            return _NONE, np.empty(0)
        signed = sign * query[None].astype(np.float32)
        make: Any = faiss.SearchParametersIVF
        while True:  # A handful of lists may hold fewer than k rows.
            params = make(nprobe=probes, **_selector(excluded))
            scores, found = self._index.search(signed, k + _MARGIN, params=params)
            candidates, kept = found[0][found[0] >= 0], scores[0][found[0] >= 0]
            if len(candidates) >= k or probes >= self._index.nlist:
                return ordered(candidates, sign * kept.astype(np.float64), k, sign)
            probes = min(2 * probes, self._index.nlist)


def ordered(rows: NDArray[np.int64], scores: NDArray[np.float64], k: int, sign: int) -> End:
    """The k best of some rows: the largest scores where `sign` is 1, the smallest where it is -1; ties by row."""
    order = np.lexsort((rows, -sign * scores))[:k]
    return rows[order], scores[order]


_NONE = np.empty(0, dtype=np.int64)


def _above_cut(scores: Embedding, k: int, sign: int) -> NDArray[np.int64]:
    """The rows that may be among the k best by single-precision scores (NaN: excluded)."""
    if k == 0:
        return _NONE
    signed = np.where(np.isnan(scores), -np.inf, sign * scores)
    return np.flatnonzero(signed >= np.partition(signed, -k)[-k] - 2 * _ROUNDING)


def _selector(excluded: Excluded) -> dict[str, Any]:
    import faiss

    return {"sel": faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))} if len(excluded) else {}


def _log_total(logits: Embedding) -> float:
    """Log Σ exp, in double precision."""
    if not len(logits):
        return 0.0
    wide = logits.astype(np.float64)
    return float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))
