"""Whether a radius keeps its word, and how well it sorts right answers from wrong ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.bench.scores.outcomes import Outcomes
from img2loc.config.parts import identity
from img2loc.core.errors import RunError
from img2loc.core.geo import Array
from img2loc.locators.calibration import Calibration, Identity, calibrate
from img2loc.locators.conformal import Evidence

_GROUPS = 10
_POINTS = 100
COVERAGES = (10, 25, 50, 75, 90, 100)
"""Per cent of all photographs at which the risk is told."""
RISK = 10
"""Per cent of wrong answers up to which answers are given."""
_NORMAL_95 = 1.959964


def coverage(radius_km: Array, errors_km: Array) -> dict[str, Any]:
    """How often the truth lies within the radius, over answers with one and by tenths of them.

    Per cent, with Wilson's binomial 95 % interval. Equal radii stay together, so that there can be
    fewer groups than ten.
    """
    with_radius = ~np.isnan(radius_km) & ~np.isnan(errors_km)
    radius, errors = radius_km[with_radius], errors_km[with_radius]
    inside = errors <= radius
    groups = []
    group = np.searchsorted(np.sort(radius), radius) * _GROUPS // max(len(radius), 1)
    for number in np.unique(group):
        held = group == number
        groups.append(
            {
                "from_km": float(radius[held].min()),
                "to_km": float(radius[held].max()),
                **_share(inside[held]),
                "median_error_km": float(np.median(errors[held])),
            }
        )
    return {
        **_share(inside),
        "median_radius_km": float(np.median(radius)) if len(radius) else None,
        "groups": groups,
    }


def calibrated(
    outcomes: Outcomes, errors_km: Array, calibration: Calibration, continents: NDArray[np.str_]
) -> dict[str, Any]:
    """The coverage of a calibration's radius, by the share that it names.

    `continents` are those of the truth, shape (n,).
    """
    evidence = Evidence(outcomes.spread_km, outcomes.similarity)
    found = {}
    for share in calibration.shares:
        radius = calibration.radius_km(evidence, share)
        whole = coverage(radius, errors_km)
        known = ~np.isnan(radius) & ~np.isnan(errors_km)
        places = {
            str(name): _share((errors_km <= radius)[known & (continents == name)])
            for name in np.unique(continents[known])
        }
        whole["coverage"] = whole.pop("inside")
        found[str(share)] = {**whole, "continents": places}
    return found


def calibration_of(
    outcomes: Outcomes,
    shares: Sequence[float],
    name: str,
    lmm_errors_km: Mapping[str, float] | None = None,
) -> Calibration:
    """The calibration by a run's answers, or by other people's predictions.

    Photographs without a known photographer count one by one. `lmm_errors_km` is noted. Raises
    ConfigError for too few answers, RunError for a run that does not say what it is of.
    """
    answered = outcomes.answered
    evidence = Evidence(outcomes.spread_km[answered], outcomes.similarity[answered])
    authors = [name for name, known in zip(outcomes.authors, answered, strict=True) if known]
    keys = [author or f"photo {number}" for number, author in enumerate(authors)]
    _, clusters = np.unique(keys, return_inverse=True)
    known = sum(map(bool, authors))
    counted = "photographers" if known == len(authors) else "photographers and photos of unknown"
    return calibrate(
        outcomes.errors_km()[answered],
        evidence,
        clusters,
        shares,
        of=identity_of(outcomes),
        measured_on=name,
        counted=counted if known else "photos",
        lmm_errors_km=lmm_errors_km,
    )


def identity_of(outcomes: Outcomes) -> Identity:
    """What a run's answers depend on; empty for predictions that came by themselves.

    Raises RunError for a run that does not say.
    """
    if "config" not in outcomes.about:
        return {}
    try:
        return identity(outcomes.about)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"The run {outcomes.name} does not say what it is of ({error!r}). Run it again."
        ) from error


def _share(inside: NDArray[np.bool_]) -> dict[str, Any]:
    """Per cent within, and Wilson's interval; None without photographs."""
    n, k = len(inside), int(inside.sum())
    if not n:
        return {"n": 0, "inside": None, "interval": None}
    z2 = _NORMAL_95**2
    middle = (k + z2 / 2) / (n + z2)
    half = _NORMAL_95 * np.sqrt(k * (n - k) / n + z2 / 4) / (n + z2)
    interval = [max(0.0, 100 * float(middle - half)), min(100.0, 100 * float(middle + half))]
    return {"n": n, "inside": 100 * k / n, "interval": interval}


def risk_coverage(
    radius_km: Array,
    answered: NDArray[np.bool_],
    right: NDArray[np.bool_],
    thresholds: Sequence[int],
) -> Any:
    """Share of wrong answers when only those of smallest radius are given, by threshold.

    `coverage` is per cent of all photographs, `risk` per cent of the answers given; answers without
    a radius come last, and those of one radius count as if in random order. `area` is the mean risk
    over 1, 2, … answers (AURC; Geifman and El-Yaniv, NeurIPS 2017), beside that of a random order
    and of the best one: over answers alone, so that a run which refuses most photographs looks
    good. `risk_of_all` is therefore at fixed shares of *all* photographs, rounded up: those without
    an answer come last and are wrong, so that at 100 it is what is not right. `answered_at_risk` is
    how many per cent of all photographs can be answered so that at most RISK per cent of these
    answers are wrong. None where no answer has a radius.
    """
    rows = np.flatnonzero(answered)
    radius = np.where(np.isnan(radius_km[rows]), np.inf, radius_km[rows])
    if not np.isfinite(radius).any():
        return None
    _, tie = np.unique(radius, return_inverse=True)
    order = np.argsort(tie, kind="stable")
    given = np.arange(1, len(rows) + 1)
    shown = np.unique(np.linspace(0, len(rows) - 1, _POINTS).round().astype(int))
    n = len(answered)
    fixed = [-(-share * n // 100) - 1 for share in COVERAGES]
    curves = {}
    for column, km in enumerate(thresholds):
        wrong = (~right[rows, column]).astype(np.float64)
        expected = (np.bincount(tie, wrong) / np.bincount(tie))[tie][order]
        risk = 100 * np.cumsum(expected) / given
        everyone = np.concatenate([expected, np.ones(n - len(rows))])
        of_all = 100 * np.cumsum(everyone) / np.arange(1, n + 1)
        curves[str(km)] = {
            "risk": risk[shown].tolist(),
            "area": float(risk.mean()),
            "area_random": 100 * float(wrong.mean()),
            "area_best": float((100 * np.cumsum(np.sort(wrong)) / given).mean()),
            "answered_at_risk": 100 * float(given[risk <= RISK].max(initial=0)) / n,
            "risk_of_all": {
                str(share): float(of_all[row]) for share, row in zip(COVERAGES, fixed, strict=True)
            },
        }
    return {"coverage": (100 * given[shown] / len(answered)).tolist(), "thresholds": curves}
