"""Outcomes → scores: shares within the thresholds over all photographs, and much beside. Pure.

A photograph without an answer is never right and stays in the denominator of `accuracy`,
`geoguessr` and `status`; `accuracy_answered`, `median_km` and `mean_km` are over the answered ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.bench.scores.bootstrap import LEVEL, RESAMPLES, Unit, bootstrap, known_authors
from img2loc.bench.scores.calibration import calibrated, coverage, risk_coverage
from img2loc.bench.scores.outcomes import (
    DISTANCES,
    STATUSES,
    Distance,
    Outcomes,
    recorded_calibration,
    searched,
)
from img2loc.core.geo import THRESHOLDS_KM, Array, hits
from img2loc.core.places import continents, country_codes
from img2loc.locators.calibration import Calibration

GEOGUESSR_KM = 1492.7
NEAR_DUPLICATE = 0.95
FORMAT = 1

Scores = dict[str, Any]
Chosen = NDArray[np.bool_]


def score(
    outcomes: Outcomes,
    distance: Distance = "great-circle",
    units: Sequence[Unit] = ("photographers",),
    resamples: int = RESAMPLES,
    seed: int = 0,
    strict: bool = False,
    calibration: Calibration | None = None,
) -> Scores:
    """All scores of a run, as JSON; shares in per cent, distances in km, None if not defined.

    With `strict`, a guess on a threshold does not count, as G3, GeoRanker and PLONK have it.
    `calibrated` is of a calibration: the one given, else the one that the run had.
    """
    known = calibration or recorded_calibration(outcomes.about)
    errors, answered = outcomes.errors_km(distance), outcomes.answered
    right = hits(errors, strict)
    codes = np.array(country_codes(outcomes.truth))
    places = np.array([continents().get(code, "unknown") for code in codes])
    return {
        "format": FORMAT,
        "name": outcomes.name,
        "distance": {"model": DISTANCES[distance], "compare": "<" if strict else "<="},
        **_summary(errors, right, np.ones(len(outcomes), dtype=bool)),
        "answered_share": _share(answered)["share"],
        "status": {
            status: _share(np.array([one == status for one in outcomes.status]))
            for status in STATUSES
        },
        "intervals": {
            unit: _intervals(outcomes, errors, right, unit, resamples, seed) for unit in units
        },
        **_by_place(outcomes, errors, right, codes, places),
        "calibration": {
            "of": "spread" if np.isnan(outcomes.radius_km).all() else "radius",
            "nominal": _nominal(outcomes),
            **coverage(outcomes.vagueness_km, errors),
        },
        "calibrated": calibrated(outcomes, errors, known, places) if known else None,
        "risk_coverage": risk_coverage(outcomes.vagueness_km, answered, right, THRESHOLDS_KM),
        "leaks": _leaks(outcomes, errors, right),
    }


def geoguessr(errors: Array) -> Array:
    """Points of GeoGuessr's world map, 5000 for a hit and 0 without an answer, shape (n,)."""
    return np.asarray(np.nan_to_num(5000 * np.exp(-errors / GEOGUESSR_KM), nan=0.0))


def _summary(errors: Array, right: Chosen, chosen: Chosen) -> Scores:
    """The main figures of some of the photographs."""
    n = int(chosen.sum())
    answered = errors[chosen & ~np.isnan(errors)]
    counts = right[chosen].sum(axis=0)
    return {
        "n": n,
        "answered": len(answered),
        "accuracy": _per_threshold(counts, n),
        "accuracy_answered": _per_threshold(counts, len(answered)),
        "median_km": float(np.median(answered)) if len(answered) else None,
        "mean_km": float(answered.mean()) if len(answered) else None,
        "geoguessr": float(geoguessr(errors[chosen]).mean()) if n else None,
    }


def _per_threshold(counts: NDArray[np.intp], of: int) -> dict[str, float | None]:
    return {
        str(km): 100 * int(count) / of if of else None
        for km, count in zip(THRESHOLDS_KM, counts, strict=True)
    }


def _share(chosen: Chosen) -> Scores:
    return {"n": int(chosen.sum()), "share": 100 * int(chosen.sum()) / len(chosen)}


def _intervals(
    outcomes: Outcomes, errors: Array, right: Chosen, unit: Unit, resamples: int, seed: int
) -> Scores:
    """95 % intervals of the main figures, each [low, high] or None."""
    draws = bootstrap(outcomes.authors, unit, resamples, seed)
    answered = outcomes.answered.astype(np.float64)
    everyone = np.ones(len(errors))
    top = np.column_stack(
        [100 * right, 100 * right, geoguessr(errors), np.nan_to_num(errors), 100 * answered]
    )
    m = len(THRESHOLDS_KM)
    bottom = np.column_stack([*[everyone] * m, *[answered] * m, everyone, answered, everyone])
    intervals = [draws.interval(column) for column in draws.ratios(top, bottom).T]
    named = [str(km) for km in THRESHOLDS_KM]
    return {
        "level": LEVEL,
        "resamples": resamples,
        "seed": seed,
        "clusters": draws.clusters,
        **known_authors(outcomes.authors),
        "accuracy": dict(zip(named, intervals[:m], strict=True)),
        "accuracy_answered": dict(zip(named, intervals[m : 2 * m], strict=True)),
        "geoguessr": intervals[-3],
        "mean_km": intervals[-2],
        "answered_share": intervals[-1],
        "median_km": draws.interval(draws.medians(errors)),
    }


def _by_place(
    outcomes: Outcomes,
    errors: Array,
    right: Chosen,
    codes: NDArray[np.str_],
    places: NDArray[np.str_],
) -> Scores:
    """The main figures by continent and country of the truth, most photographs first."""
    guessed = np.full(len(outcomes), "", dtype=codes.dtype)
    guessed[outcomes.answered] = country_codes(outcomes.guess[outcomes.answered])

    def table(keys: NDArray[np.str_]) -> Scores:
        names, counts = np.unique(keys, return_counts=True)
        ranked = sorted(
            zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0])
        )
        return {name: _summary(errors, right, keys == name) for name, _ in ranked}

    return {
        "right_country": _share((guessed == codes) & (codes != "??")),
        "continents": table(places),
        "countries": table(codes),
    }


def _nominal(outcomes: Outcomes) -> float | None:
    """The one share that all radii are promised for, in per cent."""
    shares = np.unique(outcomes.radius_share[~np.isnan(outcomes.radius_share)])
    return 100 * float(shares[0]) if len(shares) == 1 else None


def _leaks(outcomes: Outcomes, errors: Array, right: Chosen) -> Scores:
    """Scores with and without near-duplicates in the gallery, and what could not be checked."""
    gallery = searched(outcomes.about)
    # A photograph is no duplicate of a point or of a text, however similar they are.
    similarity = (
        outcomes.similarity if gallery in ("photos", None) else np.full(len(outcomes), np.nan)
    )
    unchecked = np.isnan(similarity)
    near = similarity >= NEAR_DUPLICATE
    settings = outcomes.about.get("leaks")
    inside = (settings or {}).get("truth_coordinates")
    return {
        "searched": gallery,
        "similarity": NEAR_DUPLICATE,
        "near_duplicates": _share(near),
        "unchecked": _share(unchecked),
        "scores_near_duplicates": _summary(errors, right, near),
        "scores_without": _summary(errors, right, ~near & ~unchecked),
        "rows_excluded": (
            None if np.isnan(outcomes.excluded).all() else int(np.nansum(outcomes.excluded))
        ),
        "exclusion_unchecked": _share(~outcomes.checked),
        "truth_coordinates": (
            None if inside is None else {"n": inside, "share": 100 * inside / len(outcomes)}
        ),
        "settings": settings,
    }
