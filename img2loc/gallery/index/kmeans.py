"""Spherical k-means (Dhillon and Modha, 2001): the centroids of an inverted file's lists.

FAISS has it, too; on a CPU it took five times as long (2,048 centroids of 768 numbers).
"""

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings
from img2loc.gallery.index.kernels import lengths

_ROUNDS = 10
_AT_ONCE = 8_000_000  # Similarities held at a time: 32 MB.


def centroids(sample: Embeddings, count: int) -> Embeddings:
    """Unit rows of shape (count, dim), each the mean direction of the sample's rows nearest to it.

    `sample` has unit rows, shape (n, dim), n ≥ count. The same sample gives the same centroids.
    """
    means = sample[np.sort(np.random.default_rng(0).choice(len(sample), count, replace=False))]
    for _ in range(_ROUNDS):
        lists, similarities = nearest(sample, means)
        sums = _sums(sample, lists, count)
        means = np.asarray(sums / np.maximum(lengths(sums), 1e-12)[:, None], np.float32)
        empty = np.flatnonzero(np.bincount(lists, minlength=count) == 0)
        # An empty list starts again at one of the rows that are farthest from their centroids.
        means[empty] = sample[np.argsort(similarities, kind="stable")[: len(empty)]]
    return means


def nearest(rows: Embeddings, centroids: Embeddings) -> tuple[NDArray[np.int64], Embeddings]:
    """The number of each row's most similar centroid, and that similarity; both of shape (n,)."""
    lists, similarities = np.empty(len(rows), dtype=np.int64), np.empty(len(rows), dtype=np.float32)
    step = max(1, _AT_ONCE // len(centroids))
    for start in range(0, len(rows), step):
        scores = rows[start : start + step] @ centroids.T
        lists[start : start + step] = best = scores.argmax(axis=1)
        similarities[start : start + step] = scores[np.arange(len(best)), best]
    return lists, similarities


def _sums(rows: Embeddings, lists: NDArray[np.int64], count: int) -> Embeddings:
    """The sum of each list's rows, shape (count, dim)."""
    sums = np.zeros((count, rows.shape[1]), dtype=np.float32)
    order = np.argsort(lists, kind="stable")
    for part in np.array_split(order, 1 + len(rows) // 10_000):  # A copy of all would be as large.
        present, begins = np.unique(lists[part], return_index=True)
        sums[present] += np.add.reduceat(rows[part], begins, axis=0)
    return sums
