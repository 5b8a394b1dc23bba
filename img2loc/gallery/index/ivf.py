"""Nearest and farthest search in an inverted file (IVF), by reading a part of its lists."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings, Hits, RowNumbers, SearchResult
from img2loc.gallery.index.faiss_files import selector
from img2loc.gallery.index.search import MARGIN, NO_HITS, FaissIndex, Sides, best_hits


class InvertedFileIndex(FaissIndex):
    """Bound-ranked probing of an inverted file; more lists for the farthest than for the nearest.

    A list's bound is what its best row is likely to score. Its rows lie around its centroid c: with
    a mean cosine m to it, they have the mean m · c and the spread √(1 − m²), so the best row for
    the query q is taken to score m · c·q plus `spread_weight` times the spread. `cosines` are the
    m, shape (lists,). `probes` has the numbers of lists to read for either side and the spread
    weights, {"near", "far", "near_reach", "far_reach"}; without it every list is read.
    """

    def __init__(
        self, file: Any, cosines: Embedding, probes: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(file)
        self.lists = int(self._index.nlist)
        # A query's lists are shared among the cores; by default FAISS shares the queries.
        self._index.parallel_mode = 1
        self._centroids: Embeddings = self._index.quantizer.reconstruct_n(0, self.lists)
        self._cosines, self._spread = cosines, np.sqrt(np.maximum(1 - cosines**2, 0))
        if len(cosines) != self.lists:
            raise ValueError(f"{len(cosines)} mean cosines for {self.lists} lists")
        every = {"near": self.lists, "far": self.lists, "near_reach": 0.0, "far_reach": 0.0}
        self.set_probes(every if probes is None else probes)

    def set_probes(self, probes: Mapping[str, float]) -> None:
        """Read so many lists from now on. Raises ValueError for malformed `probes`."""
        number = int | float
        match probes:
            case {"near": int(near), "far": int(far), "near_reach": n, "far_reach": f} if (
                min(near, far) > 0 and isinstance(n, number) and isinstance(f, number)
            ):
                self._probes = probes
            case _:
                raise ValueError(f"its probe counts are {probes!r}")

    def list_sizes(self) -> NDArray[np.int64]:
        """Rows of each list, shape (lists,)."""
        return np.array([self._index.invlists.list_size(number) for number in range(self.lists)])

    def assignments(self) -> NDArray[np.int64]:
        """The number of the list that each row is in, shape (rows,)."""
        import faiss

        assigned, lists = np.empty(len(self), dtype=np.int64), self._index.invlists
        for number, size in enumerate(self.list_sizes()):
            if size:
                assigned[faiss.rev_swig_ptr(lists.get_ids(number), int(size))] = number
        return assigned

    def centroid_similarities(self, queries: Embeddings) -> Embeddings:
        """Similarities of queries, shape (n, dim), to the centroids, shape (n, lists)."""
        return np.asarray(queries @ self._centroids.T)

    def score_bounds(self, similarities: Embeddings, sign: int, spread_weight: float) -> Embeddings:
        """The lists' bounds for the nearest (`sign` is 1) or the farthest (-1).

        `similarities` are those of `centroid_similarities`, and the bounds have their shape.
        """
        bounds = sign * self._cosines * similarities + spread_weight * self._spread
        return np.asarray(bounds, np.float32)

    def _search(
        self, query: Embedding, sides: Sides, excluded: RowNumbers, scale: float | None
    ) -> SearchResult:
        similarities = self.centroid_similarities(query[None].astype(np.float32))[0]
        near, far = (self._hits(query, k, sign, similarities, excluded) for k, sign in sides)
        return SearchResult(near, far)

    def _hits(
        self, query: Embedding, k: int, sign: int, similarities: Embedding, excluded: RowNumbers
    ) -> Hits:
        if k == 0:
            return NO_HITS
        side = "near" if sign > 0 else "far"
        weight = float(np.linalg.norm(query)) * self._probes[f"{side}_reach"]
        bounds = self.score_bounds(similarities, sign, weight)
        probes = int(self._probes[side])
        while True:  # A handful of lists may hold fewer than k rows.
            probes = min(probes, self.lists)
            chosen = np.argpartition(-bounds, probes - 1)[:probes]
            rows, scores = self._read(
                sign * query, k + MARGIN, chosen, sign * similarities[chosen], excluded
            )
            if len(rows) >= k or probes == self.lists:
                return best_hits(rows, sign * scores, k, sign)
            probes *= 2

    def _read(
        self,
        query: Embedding,
        k: int,
        lists: NDArray[np.int64],
        similarities: Embedding,
        excluded: RowNumbers,
    ) -> tuple[RowNumbers, NDArray[np.float64]]:
        """The k rows of some lists most similar to a query, and their similarities."""
        import faiss

        params = faiss.SearchParametersIVF(nprobe=len(lists), **selector(excluded))  # type: ignore[call-arg]
        query, similarities = (
            np.ascontiguousarray(query, np.float32),
            similarities.astype(np.float32),
        )
        scores, rows = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
        arrays = (query, lists, similarities, scores, rows)
        pointer, *others = (faiss.swig_ptr(array) for array in arrays)
        # The method that takes arrays has no parameter for exclusions.
        self._index.search_preassigned_c(1, pointer, k, *others, False, params)
        return rows[rows >= 0], scores[rows >= 0].astype(np.float64)
