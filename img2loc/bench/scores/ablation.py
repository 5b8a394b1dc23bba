"""Conditions over the same photographs, each run once or more → accuracy, and pairs compared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any

import numpy as np

from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.bootstrap import (
    LEVEL,
    RESAMPLES,
    Interval,
    Unit,
    bootstrap,
    known_authors,
)
from img2loc.bench.scores.copies import Copies, copies
from img2loc.bench.scores.outcomes import Outcomes, of_run
from img2loc.bench.scores.significance import Counts, holm, sign_flip
from img2loc.core.errors import SourceError
from img2loc.core.geo import THRESHOLDS_KM, Array, hits

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Condition:
    """A row of an ablation: its runs, which differ by chance alone."""

    name: str
    runs: tuple[Outcomes, ...]
    copies: Copies | None = None

    @property
    def present(self) -> Array:
        """1 for photographs that every run has come to, else 0; shape (n,)."""
        every = zip(*(run.status for run in self.runs), strict=True)
        return np.array([float("missing" not in statuses) for statuses in every])

    def right(self) -> Counts:
        """In how many runs each photograph is right, by threshold: (n, thresholds)."""
        right = [hits(run.errors_km()) for run in self.runs]
        return np.asarray(np.sum(right, axis=0, dtype=np.int64))


def of_runs(runs: Mapping[str, Sequence[Run]], without: str) -> list[Condition]:
    """The conditions of run folders by name; `without` names the one that shows no neighbours."""
    blind = next(iter(runs.get(without, ())), None)
    return [
        Condition(name, tuple(of_run(run, name) for run in repeats), copies(repeats, blind))
        for name, repeats in runs.items()
    ]


def ablation(
    conditions: Sequence[Condition],
    pairs: Sequence[Pair],
    unit: Unit = "photographers",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """Each condition's accuracy, and the pairs' differences (second less first), as JSON.

    Accuracies are per cent, the mean over a condition's runs; `sd` is their standard deviation,
    None for one run. A pair is compared over the photographs that all its runs have. `p` takes
    photographs for independent (McNemar's test, where each condition is one run),
    `p_clusters` photographers; `p_holm` is `p_clusters` corrected for all pairs and thresholds
    together. Raises SourceError unless all runs are over the same photographs in one order.
    """
    first = conditions[0].runs[0]
    for run in (run for condition in conditions for run in condition.runs):
        if run.ids != first.ids or not np.array_equal(run.truth, first.truth):
            raise SourceError(
                f"The runs {first.name} and {run.name} are not over the same photos. Use another"
                " --out."
            )
    draws = bootstrap(first.authors, unit, resamples, seed)
    by_name = {condition.name: condition for condition in conditions}
    chosen = [(by_name[a], by_name[b]) for a, b in pairs]
    tops, bottoms = [], []
    for condition in conditions:
        tops.append(_share(condition) * condition.present[:, None])
        bottoms.append(condition.present)
    for a, b in chosen:
        both = a.present * b.present
        tops.append((_share(b) - _share(a)) * both[:, None])
        bottoms.append(both)
    m = len(THRESHOLDS_KM)
    samples = draws.ratios(np.hstack(tops), np.repeat(np.stack(bottoms, axis=1), m, axis=1))
    intervals = [draws.interval(column) for column in samples.T]
    by_row = [intervals[start : start + m] for start in range(0, len(intervals), m)]
    rows = [_row(one, drawn) for one, drawn in zip(conditions, by_row, strict=False)]
    compared = [
        _pair(*two, draws.cluster, drawn)
        for two, drawn in zip(chosen, by_row[len(conditions) :], strict=True)
    ]
    cells = [cell for pair in compared for cell in pair["thresholds"].values()]
    for cell, p in zip(cells, holm([cell["p_clusters"] for cell in cells]), strict=True):
        cell["p_holm"] = p
    return {
        "rows": rows,
        "pairs": compared,
        "intervals": {
            "over": unit,
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "clusters": draws.clusters,
            **known_authors(first.authors),
        },
        "tests": len(cells),
    }


def _share(condition: Condition) -> Array:
    """Per cent of the runs in which each photograph is right, by threshold."""
    return 100 * condition.right() / len(condition.runs)


def _row(condition: Condition, intervals: Sequence[Interval]) -> dict[str, Any]:
    runs, present = condition.runs, condition.present > 0
    n = int(present.sum())
    # Per cent of the photographs by run and threshold, all None where there are none.
    by_run = [100 * hits(run.errors_km())[present].mean(axis=0) for run in runs] if n else []
    mean = np.mean(by_run, axis=0).tolist() if n else [None] * len(THRESHOLDS_KM)
    sd = np.std(by_run, axis=0, ddof=1).tolist() if len(by_run) > 1 else [None] * len(mean)
    return {
        "name": condition.name,
        "runs": len(runs),
        "n": n,
        "not_run": len(present) - n,
        "answered_share": (
            100 * float(np.mean([run.answered[present] for run in runs])) if n else None
        ),
        "thresholds": {
            str(km): {
                "accuracy": mean[column],
                "interval": intervals[column],
                "sd": sd[column],
            }
            for column, km in enumerate(THRESHOLDS_KM)
        },
        "copies": condition.copies,
    }


def _pair(
    first: Condition, second: Condition, cluster: Counts, intervals: Sequence[Interval]
) -> dict[str, Any]:
    both = (first.present * second.present) > 0
    runs = lcm(len(first.runs), len(second.runs))  # Whole numbers, whatever the numbers of runs.
    change = runs // len(second.runs) * second.right() - runs // len(first.runs) * first.right()
    change[~both] = 0
    by_cluster = np.zeros((int(cluster.max()) + 1, len(THRESHOLDS_KM)), dtype=np.int64)
    np.add.at(by_cluster, cluster, change)
    n = int(both.sum())
    return {
        "first": first.name,
        "second": second.name,
        "n": n,
        "thresholds": {
            str(km): {
                "difference": 100 * int(change[:, column].sum()) / (runs * n) if n else None,
                "interval": intervals[column],
                "gained": int((change[:, column] > 0).sum()),
                "lost": int((change[:, column] < 0).sum()),
                "p": sign_flip(change[:, column]),
                "p_clusters": sign_flip(by_cluster[:, column]),
            }
            for column, km in enumerate(THRESHOLDS_KM)
        },
    }
