"""Bootstrap confidence intervals over photographers, and McNemar's test of paired photographs.

Photographs of one photographer resemble each other, so that they are drawn together (a cluster
bootstrap); intervals over single photographs are narrower than the data allow.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from img2loc.core.geo import Array

Unit = Literal["photographers", "photos"]
Interval = tuple[float, float] | None
RESAMPLES = 2000
LEVEL = 95
_CELLS = 1_000_000
"""Weights that are held at a time: 8 MB."""


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """Resamples of photographs, whole clusters at a time; one seed always draws the same.

    `cluster` numbers the cluster of each photograph from 0, shape (n,).
    """

    cluster: NDArray[np.intp]
    resamples: int = RESAMPLES
    seed: int = 0

    @property
    def clusters(self) -> int:
        """How many clusters there are to draw from."""
        return int(self.cluster.max()) + 1

    def ratios(self, top: Array, bottom: Array) -> Array:
        """Sums of the columns of `top` over those of `bottom`, (n, m) each → (resamples, m).

        NaN where a resample's bottom is zero.
        """
        tops, bottoms = self._by_cluster(top), self._by_cluster(bottom)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.concatenate([(drawn @ tops) / (drawn @ bottoms) for drawn in self._draws()])

    def medians(self, values: Array) -> Array:
        """The median of `values`, (n,) with NaN for those that do not take part → (resamples,)."""
        order = np.argsort(values)
        order = order[: np.count_nonzero(~np.isnan(values))]
        if not len(order):
            return np.full(self.resamples, np.nan)
        ranked, cluster = values[order], self.cluster[order]
        medians = []
        for drawn in self._draws():
            up_to = np.cumsum(drawn[:, cluster], axis=1)
            total = up_to[:, -1:]
            low = (up_to > np.floor((total - 1) / 2)).argmax(axis=1)
            high = (up_to > np.floor(total / 2)).argmax(axis=1)
            medians.append(np.where(total[:, 0] > 0, (ranked[low] + ranked[high]) / 2, np.nan))
        return np.concatenate(medians)

    def interval(self, samples: Array) -> Interval:
        """The middle 95 % of resampled values; None where there is but one cluster to draw."""
        samples = samples[~np.isnan(samples)]
        if self.clusters < 2 or not len(samples):
            return None
        low, high = np.percentile(samples, [(100 - LEVEL) / 2, (100 + LEVEL) / 2])
        return float(low), float(high)

    def _by_cluster(self, columns: Array) -> Array:
        return np.stack(
            [np.bincount(self.cluster, column, self.clusters) for column in columns.T], axis=1
        )

    def _draws(self) -> Iterator[Array]:
        """How often each cluster is drawn, as blocks of (resamples, clusters)."""
        chance, count = np.random.default_rng(self.seed), self.clusters
        step = max(1, _CELLS // count)
        for start in range(0, self.resamples, step):
            rows = min(step, self.resamples - start)
            picks = chance.integers(0, count, (rows, count)) + np.arange(rows)[:, None] * count
            yield (
                np.bincount(picks.ravel(), minlength=rows * count)
                .reshape(rows, count)
                .astype(np.float64)
            )


def bootstrap(
    authors: Sequence[str], unit: Unit, resamples: int = RESAMPLES, seed: int = 0
) -> Bootstrap:
    """The bootstrap over photographers or photos; a photo of no known author is its own cluster."""
    if unit == "photos":
        return Bootstrap(np.arange(len(authors)), resamples, seed)
    known: dict[object, int] = {}
    clusters = [known.setdefault(author or row, len(known)) for row, author in enumerate(authors)]
    return Bootstrap(np.array(clusters, dtype=np.intp), resamples, seed)


def known_authors(authors: Sequence[str]) -> dict[str, int]:
    """How many photographers are known, and of how many photographs none is."""
    return {
        "photographers": len(set(authors) - {""}),
        "without_photographer": sum(not author for author in authors),
    }


def mcnemar(lost: int, gained: int) -> float:
    """The exact two-sided p of McNemar's test.

    It takes photographs for independent; where few photographers took many, the bootstrap interval
    is the safer guide.
    """
    n = lost + gained
    tail = sum(math.comb(n, k) for k in range(min(lost, gained) + 1))
    p: float = 2 * tail / 2**n
    return min(1.0, p)
