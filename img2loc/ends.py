"""Both ends of an opened index for one query: rows and their similarities, ties by row."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from img2loc.sketch import Sketch
from img2loc.types import Embedding, Embeddings
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

    A list promises what its best row is likely to be. Its rows lie around its centre c: with a mean similarity m to it, they have
    the mean m · c and the spread √(1 − m²), so the best row for the query q is taken to have the similarity m · c·q plus `reach`
    times the spread. `means` are the m, shape (lists,). `probes` has the numbers of lists to read for either end and the reaches,
    {"near", "far", "near_reach", "far_reach"}; without it every list is read.
    """

    def __init__(self, index: Any, means: Embedding, probes: Mapping[str, float] | None = None) -> None:
        self._index = index
        index.parallel_mode = 1  # One query's lists are shared among the cores; FAISS's usual way is to share the queries.
        self._centres: Embeddings = index.quantizer.reconstruct_n(0, index.nlist)
        self._means, self._spread = means, np.sqrt(np.maximum(1 - means**2, 0))
        if len(means) != index.nlist:
            raise ValueError(f"{len(means)} means for {index.nlist} lists")
        every = {"near": len(self), "far": len(self), "near_reach": 0.0, "far_reach": 0.0}
        self._probes: Mapping[str, float] = every if probes is None else probes
        if not (isinstance(self._probes, dict) and every.keys() <= self._probes.keys() and _are_counts(self._probes)):
            raise ValueError(f"its probe counts are {probes!r}")

    def __len__(self) -> int:
        return int(self._index.nlist)

    def sizes(self) -> NDArray[np.int64]:
        """Rows of each list, shape (lists,)."""
        return np.array([self._index.invlists.list_size(number) for number in range(len(self))])

    def homes(self) -> NDArray[np.int64]:
        """The number of the list that each row is in, shape (rows,)."""
        import faiss

        found, lists = np.empty(self._index.ntotal, dtype=np.int64), self._index.invlists
        for number, size in enumerate(self.sizes()):
            if size:
                found[faiss.rev_swig_ptr(lists.get_ids(number), int(size))] = number
        return found

    def products(self, queries: Embeddings) -> Embeddings:
        """Similarities of queries, shape (n, dim), to the lists' centres, shape (n, lists)."""
        found: Embeddings = queries @ self._centres.T
        return found

    def promise(self, products: Embeddings, sign: int, reach: float) -> Embeddings:
        """What the lists promise for the nearest (`sign` is 1) or the farthest (-1); the more the better, in products' shape."""
        return np.asarray(sign * self._means * products + reach * self._spread, np.float32)

    def find(
        self, query: Embedding, near: int, far: int, excluded: Excluded, scale: float | None
    ) -> tuple[End, End, float | None]:
        """Both ends, as far as the lists that are read hold them."""
        available = self._index.ntotal - len(excluded)
        products, length = self.products(query[None].astype(np.float32))[0], float(np.linalg.norm(query))
        first, last = (
            self._end(query, min(k, available), sign, int(self._probes[end]), promise, products, excluded)
            for end, k, sign in (("near", near, 1), ("far", far, -1))
            for promise in [self.promise(products, sign, length * self._probes[f"{end}_reach"])]
        )
        return first, last, None

    def _end(
        self, query: Embedding, k: int, sign: int, probes: int, promise: Embedding, products: Embedding, excluded: Excluded
    ) -> End:
        if k == 0:
            return _NONE, np.empty(0)
        while True:  # A handful of lists may hold fewer than k rows.
            probes = min(probes, len(self))
            chosen = np.argpartition(-promise, probes - 1)[:probes]
            rows, scores = self._read(sign * query, k + _MARGIN, chosen, sign * products[chosen], excluded)
            if len(rows) >= k or probes == len(self):
                return ordered(rows, sign * scores, k, sign)
            probes *= 2

    def _read(
        self, query: Embedding, k: int, lists: NDArray[np.int64], products: Embedding, excluded: Excluded
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The k rows of some lists most similar to a query, and their similarities."""
        import faiss

        make: Any = faiss.SearchParametersIVF
        params = make(nprobe=len(lists), **_selector(excluded))
        scores, rows = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
        arrays: list[NDArray[Any]] = [
            np.ascontiguousarray(query, np.float32),
            lists.astype(np.int64),
            products.astype(np.float32),
            scores,
            rows,
        ]
        signed, *rest = (faiss.swig_ptr(array) for array in arrays)
        self._index.search_preassigned_c(1, signed, k, *rest, False, params)  # The Python name knows no exclusions.
        return rows[rows >= 0], scores[rows >= 0].astype(np.float64)


def _are_counts(probes: Mapping[str, object]) -> bool:
    counts, reaches = [[probes[f"{end}{kind}"] for end in ("near", "far")] for kind in ("", "_reach")]
    return all(isinstance(n, int) and n > 0 for n in counts) and all(isinstance(r, int | float) for r in reaches)


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
