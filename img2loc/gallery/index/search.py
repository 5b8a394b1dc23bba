"""Nearest and farthest search over FAISS's files: a flat index, scalar quantizers, an inverted file."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError
from img2loc.core.protocols import VectorIndex
from img2loc.core.types import Embedding, Embeddings, Hits, RowNumbers, SearchResult
from img2loc.gallery.index.faiss_files import (
    VECTORS,
    matrix_of,
    products,
    read_index,
    refuse_graphs,
    stored_vectors,
)
from img2loc.gallery.index.ivf_writer import MEANS
from img2loc.gallery.index.pruning import PruningBounds

_MARGIN = 16  # Candidates fetched from FAISS beyond k, so that near-ties at the cut are settled by the exact score.
_ROUNDING = 1e-5  # Largest difference seen between a single-precision score and the exact one.
_NO_ROWS: RowNumbers = np.empty(0, dtype=np.int64)
_NO_HITS = Hits(_NO_ROWS, np.empty(0))


def open_index(folder: Path, manifest: Mapping[str, Any]) -> VectorIndex:
    """The vector index of a gallery's folder, by the `engine` of its manifest; memory-mapped.

    Raises GalleryError for an unknown engine and for a graph index, and OSError, RuntimeError,
    ValueError, KeyError or BadZipFile for damaged files.
    """
    if (engine := manifest.get("engine", "faiss")) != "faiss":
        raise GalleryError(
            f"The gallery {folder} needs the search engine {engine!r}; this version has faiss."
            " Update img2loc."
        )
    import faiss

    file = read_index(folder / VECTORS, str(manifest.get("spec")))
    index: Any = faiss.downcast_index(file)
    refuse_graphs(type(index).__name__)
    if (matrix := matrix_of(index)) is not None:
        return FlatIndex(file, matrix, PruningBounds.open(folder))
    if isinstance(index, faiss.IndexIVF):
        return InvertedFileIndex(file, np.load(folder / MEANS), manifest.get("probes"))
    return QuantizedIndex(file)


class FaissIndex:
    """What the opened FAISS indexes have in common: a batch is searched query by query."""

    exact = False

    def __init__(self, file: Any) -> None:
        import faiss

        self._file = (
            file  # FAISS frees the memory of an index when this goes, whoever still looks at it.
        )
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
            available = len(self) - len(rows)
            results.append(
                self._search(query, min(nearest, available), min(farthest, available), rows, scale)
            )
        return results

    def similarities(self, queries: Embeddings) -> Embeddings:
        """As `VectorIndex.similarities`."""
        raise NotImplementedError

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        """As `VectorIndex.vectors`."""
        return stored_vectors(self._index)

    def _search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int,
        excluded: RowNumbers,
        scale: float | None,
    ) -> SearchResult:
        raise NotImplementedError


class FlatIndex(FaissIndex):
    """Exact, over a plain matrix in memory: every row is compared, or every row's pruning bounds."""

    exact = True

    def __init__(
        self, file: Any, matrix: NDArray[np.generic], bounds: PruningBounds | None
    ) -> None:
        super().__init__(file)
        if bounds is not None and len(bounds) != len(matrix):
            raise ValueError(f"its pruning bounds are of {len(bounds)} rows")
        self._matrix, self._bounds = matrix, bounds

    def similarities(self, queries: Embeddings) -> Embeddings:
        """As `VectorIndex.similarities`, in one pass over memory."""
        return products(self._matrix, queries)

    def _search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int,
        excluded: RowNumbers,
        scale: float | None,
    ) -> SearchResult:
        sides = ((nearest, 1), (farthest, -1))
        candidates = self._pruned(query, sides, excluded) if scale is None else None
        log_sum_exp = None
        if candidates is None:
            scores = products(self._matrix, query[None])[0]
            scores[excluded] = np.nan
            candidates = [_above_cut(scores, k, sign) for k, sign in sides]
            log_sum_exp = None if scale is None else _log_sum_exp(scale * scores[~np.isnan(scores)])
        near, far = (
            best_hits(rows, self._scores(query, rows), k, sign)
            for rows, (k, sign) in zip(candidates, sides, strict=True)
        )
        return SearchResult(near, far, log_sum_exp)

    def _pruned(
        self, query: Embedding, sides: Sequence[tuple[int, int]], excluded: RowNumbers
    ) -> Sequence[RowNumbers] | None:
        """The candidates of each side that the pruning bounds leave;

        None where they leave too many, or there are none.
        """
        if self._bounds is None:
            return None
        estimates, candidates = self._bounds.estimates(query), []
        for k, sign in sides:
            rows = (
                estimates.candidates(k, sign, excluded, lambda rows: self._scores(query, rows))
                if k
                else _NO_ROWS
            )
            if rows is None:
                return None
            candidates.append(rows)
        return candidates

    def _scores(self, query: Embedding, rows: RowNumbers) -> NDArray[np.float64]:
        # Row by row, so that equal vectors get equal scores wherever they stand (a BLAS product
        # does not promise it).
        scores: NDArray[np.float64] = (
            self._matrix[rows].astype(np.float64) * query.astype(np.float64)
        ).sum(axis=1)
        return scores


class QuantizedIndex(FaissIndex):
    """Every row of FAISS's scalar quantizers, which round vectors to fewer bits."""

    def _search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int,
        excluded: RowNumbers,
        scale: float | None,
    ) -> SearchResult:
        return SearchResult(
            self._hits(query, nearest, 1, excluded), self._hits(query, farthest, -1, excluded)
        )

    def _hits(self, query: Embedding, k: int, sign: int, excluded: RowNumbers) -> Hits:
        import faiss

        if k == 0:
            return _NO_HITS
        params = faiss.SearchParameters(**_selector(excluded))
        _, hits = self._index.search(
            sign * query[None].astype(np.float32), k + _MARGIN, params=params
        )
        rows = hits[0][hits[0] >= 0]
        vectors = self._index.reconstruct_batch(rows).astype(np.float64)
        return best_hits(rows, (vectors * query.astype(np.float64)).sum(axis=1), k, sign)


class InvertedFileIndex(FaissIndex):
    """An inverted file (IVF), of which the lists with the highest score bounds are read: more for the farthest than the nearest.

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
        self._index.parallel_mode = (
            1  # A query's lists are shared among the cores; FAISS shares the queries by default.
        )
        self._centroids: Embeddings = self._index.quantizer.reconstruct_n(0, self.lists)
        self._cosines, self._spread = cosines, np.sqrt(np.maximum(1 - cosines**2, 0))
        if len(cosines) != self.lists:
            raise ValueError(f"{len(cosines)} mean cosines for {self.lists} lists")
        self.probe(
            {"near": self.lists, "far": self.lists, "near_reach": 0.0, "far_reach": 0.0}
            if probes is None
            else probes
        )

    def probe(self, probes: Mapping[str, float]) -> None:
        """Read so many lists from now on. Raises ValueError for what is no `probes`."""
        if not _are_probes(probes):
            raise ValueError(f"its probe counts are {probes!r}")
        self._probes = probes

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
        similarities: Embeddings = queries @ self._centroids.T
        return similarities

    def score_bounds(self, similarities: Embeddings, sign: int, spread_weight: float) -> Embeddings:
        """The lists' bounds for the nearest (`sign` is 1) or the farthest (-1) by `centroid_similarities`, in their shape."""
        return np.asarray(
            sign * self._cosines * similarities + spread_weight * self._spread, np.float32
        )

    def _search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int,
        excluded: RowNumbers,
        scale: float | None,
    ) -> SearchResult:
        similarities = self.centroid_similarities(query[None].astype(np.float32))[0]
        return SearchResult(
            self._hits(query, nearest, 1, similarities, excluded),
            self._hits(query, farthest, -1, similarities, excluded),
        )

    def _hits(
        self, query: Embedding, k: int, sign: int, similarities: Embedding, excluded: RowNumbers
    ) -> Hits:
        if k == 0:
            return _NO_HITS
        side = "near" if sign > 0 else "far"
        weight = float(np.linalg.norm(query)) * self._probes[f"{side}_reach"]
        bounds = self.score_bounds(similarities, sign, weight)
        probes = int(self._probes[side])
        while True:  # A handful of lists may hold fewer than k rows.
            probes = min(probes, self.lists)
            chosen = np.argpartition(-bounds, probes - 1)[:probes]
            rows, scores = self._read(
                sign * query, k + _MARGIN, chosen, sign * similarities[chosen], excluded
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

        params = faiss.SearchParametersIVF(nprobe=len(lists), **_selector(excluded))  # type: ignore[call-arg]
        scores, rows = np.empty(k, dtype=np.float32), np.empty(k, dtype=np.int64)
        arrays = (
            np.ascontiguousarray(query, np.float32),
            lists.astype(np.int64),
            similarities.astype(np.float32),
            scores,
            rows,
        )
        pointer, *others = (
            faiss.swig_ptr(array) for array in arrays
        )  # `arrays` owns the memory until the search is done.
        self._index.search_preassigned_c(
            1, pointer, k, *others, False, params
        )  # The Python name knows no exclusions.
        return rows[rows >= 0], scores[rows >= 0].astype(np.float64)


def _are_probes(probes: object) -> bool:
    if not isinstance(probes, dict):
        return False
    counts, weights = (
        [probes.get(f"{side}{kind}") for side in ("near", "far")] for kind in ("", "_reach")
    )
    return all(isinstance(n, int) and n > 0 for n in counts) and all(
        isinstance(w, int | float) for w in weights
    )


def best_hits(rows: RowNumbers, scores: NDArray[np.float64], k: int, sign: int) -> Hits:
    """The k best of some rows: the largest scores where `sign` is 1, the smallest where it is -1; ties by row number."""
    order = np.lexsort((rows, -sign * scores))[:k]
    return Hits(rows[order], scores[order])


def _above_cut(scores: Embedding, k: int, sign: int) -> RowNumbers:
    """The rows that may be among the k best by single-precision scores (NaN: excluded)."""
    if k == 0:
        return _NO_ROWS
    signed = np.where(np.isnan(scores), -np.inf, sign * scores)
    return np.flatnonzero(signed >= np.partition(signed, -k)[-k] - 2 * _ROUNDING)


def _selector(excluded: RowNumbers) -> dict[str, Any]:
    import faiss

    return {"sel": faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))} if len(excluded) else {}


def _log_sum_exp(logits: Embedding) -> float:
    """Log Σ exp, in double precision; -∞ where there are no rows."""
    if not len(logits):
        return -np.inf
    wide = logits.astype(np.float64)
    return float(wide.max() + np.log(np.exp(wide - wide.max()).sum()))
