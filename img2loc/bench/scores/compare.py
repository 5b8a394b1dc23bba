"""Two runs over the same photographs, compared photo by photo."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.bench.scores.bootstrap import LEVEL, RESAMPLES, Unit, bootstrap, known_authors, mcnemar
from img2loc.bench.scores.outcomes import DISTANCES, Distance, Outcomes
from img2loc.bench.scores.score import geoguessr
from img2loc.core.errors import SourceError
from img2loc.core.geo import EARTH_RADIUS_KM, THRESHOLDS_KM, Array, hits

_NOWHERE_KM = float(np.pi * EARTH_RADIUS_KM)
"""Half the circumference: what no answer counts as where regressions are ordered."""


def compare(
    first: Outcomes,
    second: Outcomes,
    distance: Distance = "great-circle",
    unit: Unit = "photographers",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, Any]:
    """How the second run differs from the first over the photographs that both have, as JSON.

    Differences are second less first, in points of per cent of all common photographs, with a
    paired bootstrap interval and McNemar's exact p. A photograph that was not run counts as wrong;
    `not_run` says how many. Raises SourceError where the runs share no photograph, or disagree
    about where one was taken.
    """
    first, second, only = common(first, second)
    errors = first.errors_km(distance), second.errors_km(distance)
    right = hits(errors[0]), hits(errors[1])
    change = right[1].astype(np.float64) - right[0]
    points = geoguessr(errors[1]) - geoguessr(errors[0])
    draws = bootstrap(first.authors, unit, resamples, seed)
    columns = np.column_stack([100 * change, points])
    intervals = [
        draws.interval(column) for column in draws.ratios(columns, np.ones_like(columns)).T
    ]
    thresholds = {}
    for column, km in enumerate(THRESHOLDS_KM):
        gained, lost = np.flatnonzero(change[:, column] > 0), np.flatnonzero(change[:, column] < 0)
        thresholds[str(km)] = {
            "first": 100 * float(right[0][:, column].mean()),
            "second": 100 * float(right[1][:, column].mean()),
            "difference": 100 * (len(gained) - len(lost)) / len(first),
            "interval": intervals[column],
            "p": mcnemar(len(lost), len(gained)),
            "gained": [first.ids[row] for row in gained],
            "lost": [first.ids[row] for row in lost],
        }
    return {
        "first": first.name,
        "second": second.name,
        "n": len(first),
        "only_first": only[0],
        "only_second": only[1],
        "distance": {"model": DISTANCES[distance], "compare": "<="},
        "intervals": {
            "over": unit,
            "level": LEVEL,
            "resamples": resamples,
            "seed": seed,
            "clusters": draws.clusters,
            **known_authors(first.authors),
        },
        "answered": {"first": int(first.answered.sum()), "second": int(second.answered.sum())},
        "not_run": {
            "first": first.status.count("missing"),
            "second": second.status.count("missing"),
        },
        "thresholds": thresholds,
        "geoguessr": {"difference": float(points.mean()), "interval": intervals[-1]},
        "regressions": _regressions(first, second, *errors),
    }


def common(first: Outcomes, second: Outcomes) -> tuple[Outcomes, Outcomes, tuple[int, int]]:
    """Both runs over the photographs in common, in the first's order; and how many only one has."""
    place = {name: row for row, name in enumerate(second.ids)}
    ours = np.array([row for row, name in enumerate(first.ids) if name in place], dtype=np.intp)
    if not len(ours):
        raise SourceError(
            f"The runs {first.name} and {second.name} have no photo in common. Compare runs of one"
            " benchmark."
        )
    theirs = np.array([place[first.ids[row]] for row in ours], dtype=np.intp)
    a, b = take(first, ours), take(second, theirs)
    if len(moved := np.flatnonzero((a.truth != b.truth).any(axis=1))):
        raise SourceError(
            f"The runs {first.name} and {second.name} disagree about where {len(moved)} photos were"
            f" taken, such as {a.ids[moved[0]]!r}. Compare runs of one truth file."
        )
    return a, b, (len(first) - len(ours), len(second) - len(ours))


def take(outcomes: Outcomes, rows: NDArray[np.intp]) -> Outcomes:
    """The outcomes of some photographs, in the order given."""
    columns: dict[str, Any] = {
        name: tuple(getattr(outcomes, name)[row] for row in rows)
        for name in ("ids", "authors", "status")
    }
    known = ("radius_km", "radius_share", "spread_km", "similarity", "excluded", "checked")
    for name in ("truth", "guess", *known):
        columns[name] = getattr(outcomes, name)[rows]
    return replace(outcomes, **columns)


def _regressions(
    first: Outcomes, second: Outcomes, before: Array, after: Array
) -> list[dict[str, Any]]:
    """Photographs that the second run places farther away, worst first; None km: no answer."""
    worse = np.nan_to_num(after, nan=_NOWHERE_KM) - np.nan_to_num(before, nan=_NOWHERE_KM)
    return [
        {
            "id": first.ids[row],
            "first_km": _or_none(before[row]),
            "second_km": _or_none(after[row]),
            "first_status": first.status[row],
            "second_status": second.status[row],
        }
        for row in np.argsort(-worse, kind="stable")
        if worse[row] > 0
    ]


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
