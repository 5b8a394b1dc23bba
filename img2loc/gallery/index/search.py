"""Nearest and farthest search that compares every row: a matrix in memory, or scalar quantizers."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings, Hits, RowNumbers, SearchResult
from img2loc.gallery.index.faiss_files import selector, stored_vectors
from img2loc.gallery.index.kernels import log_sum_exp, products
from img2loc.gallery.index.pruning import PruningBounds

Sides = tuple[tuple[int, int], tuple[int, int]]
"""How many of the nearest and of the farthest, each with the sign of the score that is best."""
NO_ROWS: RowNumbers = np.empty(0, dtype=np.int64)
NO_HITS = Hits(NO_ROWS, np.empty(0))
MARGIN = 16
"""Candidates asked of FAISS beyond k, so that the exact score decides among near-ties."""
_AT_ONCE = 64_000_000  # Similarities held at a time: 256 MB.
_WIDENED = 16_384  # Numbers: 128 kB, which need no new memory from the system each time.
_ROUNDING = 1e-5  # Largest difference seen between a single-precision score and the exact one.


class FaissIndex:
    """An opened FAISS index; a batch is searched query by query."""

    exact = False

    def __init__(self, file: Any) -> None:
        import faiss

        # FAISS frees the memory of an index when this goes, whoever still looks at it.
        self._file = file
        self._index: Any = faiss.downcast_index(file)
        self.dim = int(self._index.d)

    def __len__(self) -> int:
        """Number of vectors."""
        return int(self._index.ntotal)

    def search(
        self,
        queries: Embeddings,
        nearest: int,
        farthest: int,
        excluded: Sequence[RowNumbers],
        scale: float | None = None,
    ) -> list[SearchResult]:
        """As `VectorIndex.search`."""
        results = []
        for query, rows in zip(queries, excluded, strict=True):
            sides = self._sides(nearest, farthest, rows)
            results.append(self._search(query, sides, rows, scale))
        return results

    def similarities(self, queries: Embeddings) -> Embeddings:
        """As `VectorIndex.similarities`."""
        raise NotImplementedError

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        """As `VectorIndex.vectors`."""
        return stored_vectors(self._index)

    def _sides(self, nearest: int, farthest: int, excluded: RowNumbers) -> Sides:
        rest = len(self) - len(excluded)
        return (min(nearest, rest), 1), (min(farthest, rest), -1)

    def _search(
        self, query: Embedding, sides: Sides, excluded: RowNumbers, scale: float | None
    ) -> SearchResult:
        raise NotImplementedError


class FlatIndex(FaissIndex):
    """Exact, over a plain matrix in memory: compares every row, or those not pruned by `bounds`."""

    exact = True

    def __init__(
        self, file: Any, matrix: NDArray[np.generic], bounds: PruningBounds | None
    ) -> None:
        super().__init__(file)
        if bounds is not None and len(bounds) != len(matrix):
            raise ValueError(f"its pruning bounds are of {len(bounds)} rows")
        self._matrix, self._bounds = matrix, bounds

    def search(
        self,
        queries: Embeddings,
        nearest: int,
        farthest: int,
        excluded: Sequence[RowNumbers],
        scale: float | None = None,
    ) -> list[SearchResult]:
        """As `VectorIndex.search`; a batch needs few passes over memory."""
        sides = [self._sides(nearest, farthest, rows) for rows in excluded]
        found = self._pruned(queries, sides, excluded, scale)
        totals: list[float | None] = [None] * len(queries)
        unpruned = [number for number, rows in enumerate(found) if rows is None]
        # A product of several queries rounds otherwise: a probability must not depend on the batch.
        step = 1 if scale is not None else max(1, _AT_ONCE // max(1, len(self)))
        for start in range(0, len(unpruned), step):
            part = unpruned[start : start + step]
            for number, scores in zip(part, products(self._matrix, queries[part]), strict=True):
                scores[excluded[number]] = np.nan
                found[number] = [_above_cut(scores, k, sign) for k, sign in sides[number]]
                if scale is not None:
                    totals[number] = log_sum_exp(scale * scores[~np.isnan(scores)])
        results = []
        for query, both, candidates, total in zip(queries, sides, found, totals, strict=True):
            near, far = (
                best_hits(rows, self._scores(query, rows), k, sign)
                for rows, (k, sign) in zip(candidates or (), both, strict=True)
            )
            results.append(SearchResult(near, far, total))
        return results

    def similarities(self, queries: Embeddings) -> Embeddings:
        """As `VectorIndex.similarities`, in one pass over memory."""
        return products(self._matrix, queries)

    def _pruned(
        self,
        queries: Embeddings,
        sides: Sequence[Sides],
        excluded: Sequence[RowNumbers],
        scale: float | None,
    ) -> list[list[RowNumbers] | None]:
        """The rows of either side that may be among the k best; None where all must be read."""
        if self._bounds is None or scale is not None:
            return [None] * len(queries)
        scores = [partial(self._scores, query) for query in queries]
        return self._bounds.candidates(queries, sides, excluded, scores)

    def _scores(self, query: Embedding, rows: RowNumbers) -> NDArray[np.float64]:
        # Row by row, so that equal vectors get equal scores wherever they stand, which a product of
        # matrices does not guarantee. Half precision goes through single: to double takes ten times
        # as long.
        wide, scores = query.astype(np.float64), np.empty(len(rows))
        step = max(1, _WIDENED // self.dim)
        for start in range(0, len(rows), step):
            vectors = self._matrix[rows[start : start + step]].astype(np.float32)
            scores[start : start + step] = np.vecdot(vectors.astype(np.float64), wide)
        return scores


class QuantizedIndex(FaissIndex):
    """Every row of FAISS's scalar quantizers, which round vectors to fewer bits."""

    def _search(
        self, query: Embedding, sides: Sides, excluded: RowNumbers, scale: float | None
    ) -> SearchResult:
        near, far = (self._hits(query, k, sign, excluded) for k, sign in sides)
        return SearchResult(near, far)

    def _hits(self, query: Embedding, k: int, sign: int, excluded: RowNumbers) -> Hits:
        import faiss

        if k == 0:
            return NO_HITS
        params = faiss.SearchParameters(**selector(excluded))
        signed = sign * query[None].astype(np.float32)
        _, hits = self._index.search(signed, k + MARGIN, params=params)
        rows = hits[0][hits[0] >= 0]
        vectors = self._index.reconstruct_batch(rows).astype(np.float64)
        return best_hits(rows, (vectors * query.astype(np.float64)).sum(axis=1), k, sign)


def best_hits(rows: RowNumbers, scores: NDArray[np.float64], k: int, sign: int) -> Hits:
    """The k rows with the largest (`sign` is 1) or the smallest scores (-1); ties by row number."""
    order = np.lexsort((rows, -sign * scores))[:k]
    return Hits(rows[order], scores[order])


def _above_cut(scores: Embedding, k: int, sign: int) -> RowNumbers:
    """The rows that may be among the k best by single-precision scores (NaN: excluded)."""
    if k == 0:
        return NO_ROWS
    signed = np.where(np.isnan(scores), -np.inf, sign * scores)
    return np.flatnonzero(signed >= np.partition(signed, -k)[-k] - 2 * _ROUNDING)
