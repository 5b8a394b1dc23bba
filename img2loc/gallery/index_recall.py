"""An index's recall, measured; and the lists that an inverted file must read for a wanted one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError
from img2loc.core.files import write_json
from img2loc.core.types import Embeddings
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.ivf import InvertedFileIndex
from img2loc.gallery.index.kernels import products
from img2loc.gallery.index.spec import is_coarse
from img2loc.gallery.index.writer import Batches
from img2loc.gallery.manifest import MANIFEST

NEAR, FAR = 0.99, 0.95
"""Default recall of the nearest and of the farthest."""
_SIDES = (("near", 1), ("far", -1))
_K = 16
_QUERIES = 200
_EXACT_STEP = 10  # An exact index is searched for one of so many queries: it misses nothing.
_NEAR_DUPLICATE = 0.99  # Similarity from which two rows count as near-duplicates.
_TIE = 1e-6
_FIRST = 4096
_SPREAD_WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_HEADROOM = 0.25  # Share of the misses allowed that is held back: other queries miss more.


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows of a gallery as queries, with their nearest and farthest other rows by exact search.

    `queries` are row numbers, shape (n,); `vectors` theirs, shape (n, dim). `rows` and `scores`
    have shape (2, n, k): of the nearest, then of the farthest, best first.
    """

    queries: NDArray[np.int64]
    vectors: Embeddings
    rows: NDArray[np.int64]
    scores: Embeddings

    def split(self, step: int) -> tuple["Reference", "Reference"]:
        """Every `step`-th query, and the others."""
        every = np.arange(len(self.queries)) % step == 0
        return self._part(every), self._part(~every)

    def _part(self, chosen: NDArray[np.bool_]) -> "Reference":
        return Reference(
            self.queries[chosen], self.vectors[chosen], self.rows[:, chosen], self.scores[:, chosen]
        )


def reference(batches: Batches, rows: int, k: int = _K, queries: int = _QUERIES) -> Reference:
    """Search all other rows for a random sample, always the same; reads the batches twice."""
    chosen = np.sort(np.random.default_rng(1).choice(rows, size=min(queries, rows), replace=False))
    vectors = np.concatenate(
        [part[chosen[here] - start] for start, part, here in _numbered(batches, chosen)]
    )
    k = min(k, rows - 1)
    sides = [_Best(len(chosen), k, sign) for _, sign in _SIDES]
    for start, part, here in _numbered(batches, chosen):
        scores = products(part, vectors)
        for side in sides:
            # A row is no neighbour of itself.
            scores[here, chosen[here] - start] = -side.sign * np.inf
            side.add(scores, start)
    best_rows, best_scores = zip(*((side.rows, side.scores) for side in sides), strict=True)
    return Reference(chosen, vectors, np.stack(best_rows), np.stack(best_scores))


def choose_probes(
    index: InvertedFileIndex, truth: Reference, near: float = NEAR, far: float = FAR
) -> dict[str, float]:
    """The `probes` of an `InvertedFileIndex` that read the fewest rows for a wanted recall."""
    assigned, sizes = index.assignments(), index.list_sizes()
    similarities = index.centroid_similarities(truth.vectors)
    chosen: dict[str, float] = {}
    for (side, sign), wanted, rows in zip(_SIDES, (near, far), truth.rows, strict=True):
        share = wanted + (1 - wanted) * _HEADROOM
        fewest = np.inf
        for weight in _SPREAD_WEIGHTS:
            order = np.argsort(-index.score_bounds(similarities, sign, weight), axis=1)
            ranks = np.argsort(order, axis=1)  # ranks[query, list]: how many lists come before it.
            needed = np.sort(np.take_along_axis(ranks, assigned[rows], axis=1).ravel())
            if wanted == 1:  # Another query may need a list that none of these needed.
                count = index.lists
            else:
                count = int(needed[int(np.ceil(share * len(needed))) - 1]) + 1 if len(needed) else 1
            if (read := sizes[order[:, :count]].sum(axis=1).mean()) < fewest:
                fewest = read
                chosen |= {side: count, f"{side}_reach": weight}
    return chosen


def recall(gallery: Gallery, truth: Reference) -> dict[str, float]:
    """The shares of the k nearest and farthest that are found: {"near", "far", "k", "queries"}."""
    k = truth.rows.shape[2]
    vectors = truth.vectors / np.linalg.norm(truth.vectors, axis=1, keepdims=True)
    results = gallery.index.search(vectors, k, k, [np.array([row]) for row in truth.queries])
    # Coarse codes give wrong rows scores that are too good.
    ties = k > 0 and not is_coarse(gallery.manifest["spec"])
    shares = {}
    for (side, sign), rows, scores in zip(_SIDES, truth.rows, truth.scores, strict=True):
        hits = 0
        for number, result in enumerate(results):
            best = result.nearest if sign > 0 else result.farthest
            right = np.isin(best.rows, rows[number])
            if ties:
                right |= sign * best.similarities >= sign * scores[number, -1] - _TIE
            hits += int(right.sum())
        shares[side] = round(min(1.0, hits / max(1, rows.size)), 4)
    return {**shares, "k": k, "queries": len(truth.queries)}


def measure(
    gallery: Gallery, batches: Batches, near: float = NEAR, far: float = FAR
) -> dict[str, Any]:
    """The manifest's entries on an index: its recall, near-duplicates, and probe counts of lists.

    The recall of an inverted file is measured with other queries than its probe counts were chosen
    with.
    """
    if len(gallery) < 2:
        return {}
    index, chosen, counts = gallery.index, {}, {}
    inverted = isinstance(index, InvertedFileIndex)
    truth = reference(batches, len(gallery), queries=3 * _QUERIES if inverted else _QUERIES)
    tested = truth.split(_EXACT_STEP)[0] if index.exact else truth
    if isinstance(index, InvertedFileIndex):
        tested, choosing = truth.split(3) if len(gallery) > _K else (truth, truth)
        probes = choose_probes(index, choosing, near, far)
        index.set_probes(probes)
        chosen = {"probes": probes}
        counts = {"lists": index.lists, "near_probes": probes["near"], "far_probes": probes["far"]}
    return {
        **chosen,
        "recall": {**recall(gallery, tested), **counts},
        "near_duplicates": {
            "share": round(float(np.mean(truth.scores[0][:, 0] >= _NEAR_DUPLICATE)), 4),
            "similarity": _NEAR_DUPLICATE,
            "of_rows": len(truth.queries),
        },
    }


def require_lists(gallery: Gallery) -> None:
    """Raise GalleryError unless the gallery's index is an inverted file."""
    if not isinstance(gallery.index, InvertedFileIndex):
        raise GalleryError(
            f"The gallery {gallery.folder} has the index {gallery.manifest['spec']}, which reads"
            " every row: there is nothing to tune. Build it again with --spec IVF4096,SQfp16 for a"
            " quicker and less exact one."
        )


def tune(gallery: Gallery, batches: Batches, near: float, far: float) -> dict[str, Any]:
    """Choose an inverted file's probe counts anew, for its manifest; else raise GalleryError."""
    require_lists(gallery)
    measurements = measure(gallery, batches, near, far)
    write_json(gallery.folder / MANIFEST, {**gallery.manifest, **measurements})
    return measurements


def same_coordinates(locations: NDArray[np.float64]) -> float:
    """The share of rows whose exact coordinates another row has; `locations` has shape (n, 2)."""
    _, counts = np.unique(locations[:, 0] + 1j * locations[:, 1], return_counts=True)
    return round(float(counts[counts > 1].sum() / max(1, len(locations))), 4)


class _Best:
    """The k best so far for each query."""

    def __init__(self, queries: int, k: int, sign: int) -> None:
        self._k, self.sign = k, sign
        self.rows = np.empty((queries, 0), dtype=np.int64)
        self.scores: Embeddings = np.empty((queries, 0), dtype=np.float32)

    def add(self, scores: Embeddings, start: int) -> None:
        """Take in the scores of more rows, shape (queries, rows), the first of which is `start`."""
        k = min(self._k, self.rows.shape[1] + scores.shape[1])
        best_rows, best_scores = np.empty((len(scores), k), np.int64), np.empty((len(scores), k))
        for query, new in enumerate(scores):
            signed = self.sign * new
            # Most rows are out by what the first few score, for which the rest need no sorting.
            known = np.concatenate((self.sign * self.scores[query], signed[:_FIRST]))
            least = np.partition(known, -k)[-k] if len(known) >= k else -np.inf
            chosen = np.flatnonzero(signed >= least)
            joined = np.concatenate((self.scores[query], new[chosen]))
            rows = np.concatenate((self.rows[query], chosen + start))
            order = np.lexsort((rows, -self.sign * joined))[:k]
            best_rows[query], best_scores[query] = rows[order], joined[order]
        self.rows, self.scores = best_rows, best_scores.astype(np.float32)


def _numbered(
    batches: Batches, chosen: NDArray[np.int64]
) -> Iterator[tuple[int, Embeddings, NDArray[np.int64]]]:
    """Each batch's first row number, its vectors, and which of the chosen rows are in it."""
    start = 0
    for vectors, _ in batches:
        first, end = np.searchsorted(chosen, (start, start + len(vectors)))
        yield start, vectors, np.arange(first, end)
        start += len(vectors)
