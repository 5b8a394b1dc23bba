"""How much of both ends a gallery's index finds, measured, and how many lists an inverted file must read for it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.errors import GalleryError
from img2loc.gallery import Gallery
from img2loc.manifest import MANIFEST, write_json
from img2loc.types import Embeddings, Item

NEAR, FAR = 0.99, 0.95
"""Recall of the nearest and of the farthest that probe counts are chosen for."""
Batches = Iterable[tuple[Embeddings, Sequence[Item]]]
_K = 16
_QUERIES = 200
_TWIN = 0.99  # Similarity from which two rows count as near-duplicates.
_TIE = 1e-6
_HEADROOM = 0.25  # Share of what may be missed that is kept back, because other queries miss a little more.


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows of a gallery that serve as queries, and both ends of each among the other rows, by exact search.

    `queries` are row numbers, shape (n,); `vectors` theirs, shape (n, dim). For each end, near then far: `rows` and `scores`,
    shape (n, k), best first, and `found`, the vectors of the rows, shape (n, k, dim).
    """

    queries: NDArray[np.int64]
    vectors: Embeddings
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    scores: tuple[Embeddings, Embeddings]
    found: tuple[Embeddings, Embeddings]


def reference(batches: Batches, rows: int, k: int = _K, queries: int = _QUERIES) -> Reference:
    """Search for a random sample of the rows, always the same, in all others; reads the batches twice."""
    chosen = np.sort(np.random.default_rng(1).choice(rows, size=min(queries, rows), replace=False))
    vectors = np.concatenate([part[own] for start, part in _numbered(batches) if len(own := _within(chosen, start, len(part)))])
    k = min(k, rows - 1)
    ends = [_Best(len(chosen), k, vectors.shape[1], sign) for sign in (1, -1)]
    for start, part in _numbered(batches):
        scores = vectors @ part.T
        own = _within(chosen, start, len(part))
        scores[np.flatnonzero((chosen >= start) & (chosen < start + len(part))), own] = np.nan  # A row is no neighbour of itself.
        for end in ends:
            end.take(scores, part, start)
    near, far = ends
    return Reference(chosen, vectors, (near.rows, far.rows), (near.scores, far.scores), (near.found, far.found))


def probes(gallery: Gallery, truth: Reference, near: float = NEAR, far: float = FAR) -> dict[str, int] | None:
    """The least numbers of lists, {"near", "far"}, that hold these shares of both ends; None for what is no inverted file."""
    quantizer, lists = gallery.quantizer(), gallery.lists
    if quantizer is None:
        return None
    counts = {}
    for end, sign, wanted, found in zip(("near", "far"), (1, -1), (near, far), truth.found, strict=True):
        _, order = quantizer.search(sign * truth.vectors, lists)
        ranks = np.argsort(order, axis=1)  # ranks[query, list]: how many lists come before it.
        _, homes = quantizer.search(found.reshape(-1, found.shape[-1]), 1)
        needed = np.sort(np.take_along_axis(ranks, homes.reshape(len(found), -1), axis=1).ravel())
        share = wanted + (1 - wanted) * _HEADROOM
        counts[end] = int(needed[min(len(needed) - 1, int(np.ceil(share * len(needed))) - 1)]) + 1 if len(needed) else 1
    return counts


def recall(gallery: Gallery, truth: Reference) -> dict[str, float]:
    """The shares of both ends that a gallery's search finds, {"near", "far"}."""
    k, hits = truth.rows[0].shape[1], [0, 0]
    for number, (row, vector) in enumerate(zip(truth.queries, truth.vectors, strict=True)):
        ends = gallery.ends(vector / np.linalg.norm(vector), k, k, np.array([row]))
        for end, (sign, (rows, scores)) in enumerate(zip((1, -1), ends, strict=True)):
            last = sign * truth.scores[end][number, -1] if k else 0
            hits[end] += int((np.isin(rows, truth.rows[end][number]) | (sign * scores >= last - _TIE)).sum())
    total = max(1, k * len(truth.queries))
    return {end: round(min(1.0, hit / total), 4) for end, hit in zip(("near", "far"), hits, strict=True)}


def measured(gallery: Gallery, batches: Batches, near: float = NEAR, far: float = FAR) -> dict[str, Any]:
    """What the manifest says of an index: probe counts where it has lists, its recall, and the share of near-duplicates."""
    if len(gallery) < 2:
        return {}
    truth = reference(batches, len(gallery))
    chosen = probes(gallery, truth, near, far)
    gallery.probe(chosen)
    counted: Mapping[str, int] = {} if chosen is None else {"near_probes": chosen["near"], "far_probes": chosen["far"]}
    of = {"k": truth.rows[0].shape[1], "queries": len(truth.queries), "lists": gallery.lists, **counted}
    twins = float(np.mean(truth.scores[0][:, 0] >= _TWIN))
    return {
        **({} if chosen is None else {"probes": chosen}),
        "recall": {**recall(gallery, truth), **of},
        "near_duplicates": {"share": round(twins, 4), "similarity": _TWIN, "of_rows": len(truth.queries)},
    }


def tune(gallery: Gallery, batches: Batches, near: float, far: float) -> dict[str, Any]:
    """Choose the probe counts of an inverted file anew and keep them in its manifest. Raises GalleryError for other indexes."""
    if not gallery.lists:
        raise GalleryError(
            f"The gallery {gallery.folder} has the index {gallery.manifest['spec']}, which reads every row: there is nothing to "
            "tune. Build it again with --spec IVF4096,SQfp16 for a quicker and less exact one."
        )
    found = measured(gallery, batches, near, far)
    write_json(gallery.folder / MANIFEST, {**gallery.manifest, **found})
    return found


def same_coordinates(locations: NDArray[np.float64]) -> float:
    """The share of rows whose exact coordinates another row has; `locations` has shape (n, 2)."""
    _, counts = np.unique(locations[:, 0] + 1j * locations[:, 1], return_counts=True)
    return round(float(counts[counts > 1].sum() / max(1, len(locations))), 4)


class _Best:
    """The k best of what has come so far, for each query."""

    def __init__(self, queries: int, k: int, dim: int, sign: int) -> None:
        self._k, self._sign = k, sign
        self.rows = np.empty((queries, 0), dtype=np.int64)
        self.scores: Embeddings = np.empty((queries, 0), dtype=np.float32)
        self.found: Embeddings = np.empty((queries, 0, dim), dtype=np.float32)

    def take(self, scores: Embeddings, part: Embeddings, start: int) -> None:
        signed = np.where(np.isnan(scores), -np.inf, self._sign * scores)
        best = np.argpartition(-signed, min(self._k, part.shape[0] - 1), axis=1)[:, : self._k]
        joined = np.concatenate((self.scores, np.take_along_axis(scores, best, axis=1)), axis=1)
        rows = np.concatenate((self.rows, best + start), axis=1)
        found = np.concatenate((self.found, part[best]), axis=1)
        signed = np.where(np.isnan(joined), -np.inf, self._sign * joined)
        order = np.lexsort((rows, -signed), axis=1)[:, : self._k]
        self.scores, self.rows = np.take_along_axis(joined, order, axis=1), np.take_along_axis(rows, order, axis=1)
        self.found = np.take_along_axis(found, order[:, :, None], axis=1)


def _numbered(batches: Batches) -> Iterable[tuple[int, Embeddings]]:
    start = 0
    for vectors, _ in batches:
        yield start, vectors
        start += len(vectors)


def _within(chosen: NDArray[np.int64], start: int, length: int) -> NDArray[np.int64]:
    return chosen[(chosen >= start) & (chosen < start + length)] - start
