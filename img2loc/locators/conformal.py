"""Split conformal prediction of a great-circle error (Papadopoulos et al. 2002; arXiv 2602.16015).

From photographs whose place is known: how far, at most, is the truth from the answer, for a stated
share of photographs drawn like these? A part of them chooses among four scores, and the others give
the scores' quantiles, so that the choice costs no coverage:

- constant: the error itself, one radius for all;
- spread: error / (1 + spread), spread being how far the evidence scatters, in km; not where the
  similarity is known, which neighbours that agree on a wrong place would then outvote;
- fitted: error / what a line through log(1 + error) predicts from log(1 + spread) and from the
  similarity of the nearest neighbour, where there is one;
- bins: the error, in groups of what is predicted (Mondrian; Vovk et al. 2003), which keeps the
  share in each group. It is chosen unless another's radius is clearly smaller.

Photographs of one photographer are not independent: each photographer counts as one, and what is
promised is promised for a new one (hierarchical conformal prediction, arXiv 2306.06342).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from img2loc.core.geo import EARTH_RADIUS_KM, Array

Score = Literal["bins", "fitted", "spread", "constant"]
CHOSEN_AT = (0.68, 0.9)
"""The shares at which the scores are compared."""
_MOST_TO_CHOOSE = 100
"""Photographers that choose the score, or half of them where that is fewer."""
_FEWEST_TO_CHOOSE = 20
_BINS = 4
_FEWEST_IN_BIN = 50  # Photographers: of fewer, the quantile of a bin is mostly chance.
_CLEARLY = 0.8  # Of the radius by bins: another score's must be smaller.
_RIDGE = 1e-3  # So that a column without variation gets no weight.

FARTHEST_KM = math.pi * EARTH_RADIUS_KM
"""Half the circumference: nothing on Earth is farther away."""
Rows = NDArray[np.bool_]
Clusters = NDArray[np.int64]
"""Whose each photograph is, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of answers without their truth: `spread_km` and `similarity`, shape (n,).

    `similarity` is that of the nearest neighbour. NaN where unknown.
    """

    spread_km: Array
    similarity: Array

    def __len__(self) -> int:
        """Answers."""
        return len(self.spread_km)

    def some(self, rows: Rows) -> "Evidence":
        """A part of the answers."""
        return Evidence(self.spread_km[rows], self.similarity[rows])


@dataclass(frozen=True, slots=True)
class Conformal:
    """A score, and its quantile in each group of answers by share; inf where it has none.

    `line` predicts log(1 + error) from 1, log(1 + spread) and, where it has three numbers, minus
    the similarity. `edges` part the groups of "bins". The last group is of answers for which the
    line lacks something.
    """

    score: Score
    line: tuple[float, ...]
    edges: tuple[float, ...]
    quantiles: dict[float, tuple[float, ...]]

    def radius_km(self, evidence: Evidence, share: float) -> Array:
        """The radius around each answer, shape (n,); inf where nothing can be promised."""
        scale = self._scale(evidence)
        return np.asarray(np.array(self.quantiles[share])[self._groups(evidence)] * scale)

    def measured(
        self, errors_km: Array, evidence: Evidence, clusters: Clusters, shares: Iterable[float]
    ) -> "Conformal":
        """The same score with the quantiles of these answers."""
        scores, groups = errors_km / self._scale(evidence), self._groups(evidence)
        quantiles = {
            share: tuple(
                quantile(scores[groups == group], clusters[groups == group], share)
                for group in range(len(self.edges) + 2)
            )
            for share in shares
        }
        return Conformal(self.score, self.line, self.edges, quantiles)

    def predicted(self, evidence: Evidence) -> Array:
        """What error the evidence lets one expect, in km, shape (n,); NaN where it is not known."""
        return np.asarray(np.exp(_columns(evidence, len(self.line)) @ np.array(self.line)))

    def _groups(self, evidence: Evidence) -> NDArray[np.intp]:
        predicted = self.predicted(evidence)
        groups = np.searchsorted(np.array(self.edges), predicted)
        return np.where(np.isnan(predicted), len(self.edges) + 1, groups)

    def _scale(self, evidence: Evidence) -> Array:
        predicted = self.predicted(evidence)
        scale = np.ones(len(evidence))
        if self.score == "spread":
            scale = 1 + evidence.spread_km
        elif self.score == "fitted":
            scale = predicted
        return np.where(np.isnan(predicted), 1.0, scale)


def fit(
    errors_km: Array,
    evidence: Evidence,
    clusters: Clusters,
    shares: Iterable[float],
    seed: int = 0,
    score: Score | None = None,
) -> Conformal:
    """Choose a score, where none is named, and measure its quantiles on the other photographs.

    `errors_km` has shape (n,). With too few photographers to choose by, the score is constant.
    """
    names = np.random.default_rng(seed).permutation(np.unique(clusters))
    few = min(_MOST_TO_CHOOSE, len(names) // 2)
    if few < _FEWEST_TO_CHOOSE:
        plain = Conformal("constant", (0.0, 0.0), (), {})
        return plain.measured(errors_km, evidence, clusters, shares)
    choosing = np.isin(clusters, names[:few])
    parts = errors_km[choosing], evidence.some(choosing), clusters[choosing]
    bins = min(_BINS, (len(names) - few) // _FEWEST_IN_BIN)
    scores = (score,) if score else _scores(evidence, bins)
    candidates = [_prepared(name, bins, *parts) for name in scores]
    rest = errors_km[~choosing], evidence.some(~choosing), clusters[~choosing]
    return min(candidates, key=lambda one: _size(one, *parts)).measured(*rest, shares)


def quantile(scores: Array, clusters: Clusters, share: float) -> float:
    """What the score of a new photographer's photograph is at most, with that probability.

    Each of K photographers weighs 1 / (K + 1), shared by their photographs, and so does the new
    one, whose score may be anything: inf where that is needed.
    """
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(_weights(clusters)[order]) / (len(np.unique(clusters)) + 1)
    place = int(np.searchsorted(reached, share - 1e-12))
    return float(scores[order][place]) if place < len(scores) else np.inf


def _scores(evidence: Evidence, bins: int) -> tuple[Score, ...]:
    """The scores that may be chosen."""
    impossible = set() if np.isnan(evidence.similarity).any() else {"spread"}
    if bins < 2:
        impossible.add("bins")
    return tuple(name for name in get_args(Score) if name not in impossible)


def _prepared(
    score: Score, bins: int, errors_km: Array, evidence: Evidence, clusters: Clusters
) -> Conformal:
    """The score with its line and its edges, and without quantiles."""
    known = ~np.isnan(evidence.spread_km)
    if not known.any():
        return Conformal(score, (0.0, 0.0), (), {})
    evidence, weights = evidence.some(known), _weights(clusters[known])
    columns = _columns(evidence, 2 if np.isnan(evidence.similarity).any() else 3)
    line = _line(columns, np.log1p(errors_km[known]), weights)
    plain = Conformal(score, tuple(line.tolist()), (), {})
    if score != "bins":
        return plain
    predicted = plain.predicted(evidence)
    order = np.argsort(predicted, kind="stable")
    reached = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(reached, np.arange(1, bins) / bins)
    edges = np.unique(predicted[order][at])
    return Conformal(score, plain.line, tuple(edges.tolist()), {})


def _size(
    candidate: Conformal, errors_km: Array, evidence: Evidence, clusters: Clusters
) -> tuple[float, bool]:
    """The geometric mean of a score's radius over the photographs that choose.

    So a score that parts sure answers from unsure ones is the smaller one.
    """
    measured = candidate.measured(errors_km, evidence, clusters, CHOSEN_AT)
    radii = [measured.radius_km(evidence, share) for share in CHOSEN_AT]
    radius = np.clip(radii, 1.0, FARTHEST_KM)
    mean = float(np.exp(np.log(radius).mean()))
    return mean * (_CLEARLY if candidate.score == "bins" else 1.0), candidate.score != "constant"


def _line(columns: Array, logs: Array, weights: Array) -> Array:
    """Weighted least squares without negative slopes: less agreement never promises more."""
    line, kept = np.zeros(columns.shape[1]), list(range(columns.shape[1]))
    while True:
        chosen = columns[:, kept]
        square = (chosen * weights[:, None]).T @ chosen + _RIDGE * np.eye(len(kept))
        solved = np.linalg.solve(square, (chosen * weights[:, None]).T @ logs)
        if len(kept) == 1 or solved[1:].min() >= 0:
            line[kept] = solved
            return line
        kept.pop(1 + int(np.argmin(solved[1:])))


def _columns(evidence: Evidence, count: int) -> Array:
    columns = [np.ones(len(evidence)), np.log1p(evidence.spread_km), -evidence.similarity]
    return np.stack(columns[:count], axis=1)


def _weights(clusters: Clusters) -> Array:
    """Each photograph's share of its photographer, shape (n,)."""
    _, which, counts = np.unique(clusters, return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[which])
