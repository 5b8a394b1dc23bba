"""How much of both ends a gallery's index finds, measured, and how many lists an inverted file must read for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.ends import Lists
from img2loc.errors import GalleryError
from img2loc.files import write_json
from img2loc.gallery import Gallery
from img2loc.manifest import MANIFEST
from img2loc.types import Embeddings
from img2loc.vectors import products
from img2loc.writing import Batches

NEAR, FAR = 0.99, 0.95
"""Recall of the nearest and of the farthest that probe counts are chosen for."""
_K = 16
_QUERIES = 200
_PROVEN = 10  # Of so many queries one is enough where every row is looked at as it is: all is found by construction.
_TWIN = 0.99  # Similarity from which two rows count as near-duplicates.
_TIE = 1e-6
_REACHES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_HEADROOM = 0.25  # Share of what may be missed that is kept back, because other queries miss a little more.


@dataclass(frozen=True, slots=True)
class Reference:
    """Rows of a gallery that serve as queries, and both ends of each among the other rows, by exact search.

    `queries` are row numbers, shape (n,); `vectors` theirs, shape (n, dim). For each end, near then far: `rows` and `scores`,
    shape (n, k), best first.
    """

    queries: NDArray[np.int64]
    vectors: Embeddings
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    scores: tuple[Embeddings, Embeddings]

    def every(self, step: int) -> "Reference":
        """Every `step`-th query."""
        return self._of(np.arange(len(self.queries)) % step == 0)

    def but_every(self, step: int) -> "Reference":
        """The other queries."""
        return self._of(np.arange(len(self.queries)) % step != 0)

    def _of(self, part: NDArray[np.bool_]) -> "Reference":
        (near, far), (likest, unlikest) = self.rows, self.scores
        return Reference(self.queries[part], self.vectors[part], (near[part], far[part]), (likest[part], unlikest[part]))


def reference(batches: Batches, rows: int, k: int = _K, queries: int = _QUERIES) -> Reference:
    """Search for a random sample of the rows, always the same, in all others; reads the batches twice."""
    chosen = np.sort(np.random.default_rng(1).choice(rows, size=min(queries, rows), replace=False))
    vectors = np.concatenate([part[chosen[own] - start] for start, part, own in _numbered(batches, chosen) if len(own)])
    k = min(k, rows - 1)
    near, far = ends = [_Best(len(chosen), k, sign) for sign in (1, -1)]
    for start, part, own in _numbered(batches, chosen):
        scores = products(part, vectors)
        for end in ends:
            scores[own, chosen[own] - start] = -end.sign * np.inf  # A row is no neighbour of itself.
            end.take(scores, start)
    return Reference(chosen, vectors, (near.rows, far.rows), (near.scores, far.scores))


def probes(lists: Lists, truth: Reference, near: float = NEAR, far: float = FAR) -> dict[str, float]:
    """How to read the fewest rows that hold these shares of both ends, as `Lists` takes it."""
    homes, sizes, products = lists.homes(), lists.sizes(), lists.products(truth.vectors)
    chosen: dict[str, float] = {}
    for end, sign, wanted, rows in zip(("near", "far"), (1, -1), (near, far), truth.rows, strict=True):
        share = wanted + (1 - wanted) * _HEADROOM
        least = np.inf
        for reach in _REACHES:
            order = np.argsort(-lists.promise(products, sign, reach), axis=1)
            ranks = np.argsort(order, axis=1)  # ranks[query, list]: how many lists come before it.
            needed = np.sort(np.take_along_axis(ranks, homes[rows], axis=1).ravel())
            count = int(needed[min(len(needed) - 1, int(np.ceil(share * len(needed))) - 1)]) + 1 if len(needed) else 1
            count = len(lists) if wanted == 1 else count  # What no query needed yet another may need.
            if (read := sizes[order[:, :count]].sum(axis=1).mean()) < least:
                least = read
                chosen |= {end: count, f"{end}_reach": reach}
    return chosen


def recall(gallery: Gallery, truth: Reference) -> dict[str, float]:
    """The shares of both ends that a gallery's search finds, {"near", "far", "k", "queries"}: of so many, for so many queries."""
    k, hits = truth.rows[0].shape[1], [0, 0]
    ties = str(gallery.manifest["spec"]).endswith(("Flat", "fp16"))  # Coarser codes give wrong rows scores that are too good.
    for number, (row, vector) in enumerate(zip(truth.queries, truth.vectors, strict=True)):
        ends = gallery.ends(vector / np.linalg.norm(vector), k, k, np.array([row]))
        for end, (sign, (rows, scores)) in enumerate(zip((1, -1), ends, strict=True)):
            hit = np.isin(rows, truth.rows[end][number])
            if k and ties:
                hit |= sign * scores >= sign * truth.scores[end][number, -1] - _TIE
            hits[end] += int(hit.sum())
    total = max(1, k * len(truth.queries))
    shares = {end: round(min(1.0, hit / total), 4) for end, hit in zip(("near", "far"), hits, strict=True)}
    return {**shares, "k": k, "queries": len(truth.queries)}


def measured(gallery: Gallery, batches: Batches, near: float = NEAR, far: float = FAR) -> dict[str, Any]:
    """What the manifest says of an index: probe counts where it has lists, its recall, and the share of near-duplicates.

    The recall of an inverted file is that of other queries than those that its probe counts were chosen for.
    """
    if len(gallery) < 2:
        return {}
    lists, chosen = gallery.inverted, dict[str, float]()
    truth = reference(batches, len(gallery), queries=3 * _QUERIES if lists else _QUERIES)
    asked = truth.every(_PROVEN) if gallery.scores_all else truth
    if lists:
        choosing, asked = (truth.but_every(3), truth.every(3)) if len(gallery) > _K else (truth, truth)
        chosen = probes(lists, choosing, near, far)
        gallery.probe(chosen)
    counted = {"lists": len(lists), "near_probes": chosen["near"], "far_probes": chosen["far"]} if lists else {}
    twins = float(np.mean(truth.scores[0][:, 0] >= _TWIN))
    return {
        **({"probes": chosen} if lists else {}),
        "recall": {**recall(gallery, asked), **counted},
        "near_duplicates": {"share": round(twins, 4), "similarity": _TWIN, "of_rows": len(truth.queries)},
    }


def tune(gallery: Gallery, batches: Batches, near: float, far: float) -> dict[str, Any]:
    """Choose the probe counts of an inverted file anew and keep them in its manifest. Raises GalleryError for other indexes."""
    if not gallery.inverted:
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

    def __init__(self, queries: int, k: int, sign: int) -> None:
        self._k, self.sign = k, sign
        self.rows = np.empty((queries, 0), dtype=np.int64)
        self.scores: Embeddings = np.empty((queries, 0), dtype=np.float32)

    def take(self, scores: Embeddings, start: int) -> None:
        """The scores of more rows, shape (queries, rows), of which the first is number `start`."""
        import torch

        best = torch.topk(torch.from_numpy(scores), min(self._k, scores.shape[1]), dim=1, largest=self.sign > 0, sorted=False)
        joined = np.concatenate((self.scores, best.values.numpy()), axis=1)
        rows = np.concatenate((self.rows, best.indices.numpy() + start), axis=1)
        order = np.lexsort((rows, -self.sign * joined), axis=1)[:, : self._k]
        self.scores, self.rows = np.take_along_axis(joined, order, axis=1), np.take_along_axis(rows, order, axis=1)


def _numbered(batches: Batches, chosen: NDArray[np.int64]) -> Iterator[tuple[int, Embeddings, NDArray[np.int64]]]:
    """Each batch's first row number, its vectors, and which of the chosen rows are in it."""
    start = 0
    for vectors, _ in batches:
        first, end = np.searchsorted(chosen, (start, start + len(vectors)))
        yield start, vectors, np.arange(first, end)
        start += len(vectors)
