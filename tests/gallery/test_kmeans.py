"""Centroids of lists: as good as FAISS's, deterministic, and none lost where rows are equal."""

from typing import Any

import numpy as np
import pytest

from img2loc.core.types import Embeddings
from img2loc.gallery.index import kmeans
from tests.gallery.test_gallery import unit


def grouped(rows: int, seed: int = 0) -> Embeddings:
    random = np.random.default_rng(seed)
    middles = np.random.default_rng(1).normal(size=(30, 24))
    return unit(middles[random.integers(0, 30, rows)] + random.normal(scale=0.4, size=(rows, 24)))


def test_they_are_as_good_as_those_of_faiss() -> None:
    import faiss

    rows, unseen = grouped(8000), grouped(4000, seed=2)
    theirs: Any = faiss.Kmeans(
        24, 64, niter=10, spherical=True, seed=1, max_points_per_centroid=1000
    )
    theirs.train(rows)
    ours = kmeans.centroids(rows, 64)
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1, abs=1e-5)
    means = [float((unseen @ result.T).max(axis=1).mean()) for result in (ours, theirs.centroids)]
    assert means[0] > means[1] - 0.005
    assert np.array_equal(ours, kmeans.centroids(rows, 64))


def test_the_nearest_is_that_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, centroids = grouped(500), grouped(40, seed=3)
    scores = rows.astype(np.float64) @ centroids.T.astype(np.float64)
    monkeypatch.setattr(kmeans, "_AT_ONCE", 1000)
    lists, similar = kmeans.nearest(rows, centroids)
    assert np.array_equal(lists, scores.argmax(axis=1))
    assert similar == pytest.approx(scores.max(axis=1), abs=1e-6)


def test_equal_rows_leave_centroids_that_can_be_searched() -> None:
    rows = np.repeat(grouped(3), 50, axis=0)
    result = kmeans.centroids(rows, 16)
    assert result.shape == (16, 24)
    assert np.isfinite(result).all()
    assert (rows @ result.T).max(axis=1) == pytest.approx(1, abs=1e-5)
