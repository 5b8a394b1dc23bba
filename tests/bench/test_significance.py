"""The p-values of paired runs: exact on small cases, calibrated on simulated outcomes."""

import itertools

import numpy as np
import pytest

from img2loc.bench.scores.bootstrap import Bootstrap, mcnemar
from img2loc.bench.scores.significance import holm, sign_flip

REPEATS = 200
PHOTOS, PHOTOGRAPHERS = 400, 80


@pytest.mark.parametrize("seed", range(5))
def test_the_p_is_that_of_all_flips(seed: int) -> None:
    differences = np.random.default_rng(seed).integers(-4, 6, 10)
    total = abs(differences.sum())
    flips = np.array(list(itertools.product((-1, 1), repeat=10))) @ np.abs(differences)
    expected = np.mean(np.abs(flips) >= total)
    assert sign_flip(differences) == pytest.approx(expected)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (0, 1), (3, 9), (7, 7), (900, 1100)])
def test_over_single_photos_it_is_mcnemars(lost: int, gained: int) -> None:
    differences = np.repeat([-1, 0, 1], [lost, 50, gained])
    assert sign_flip(differences) == pytest.approx(mcnemar(lost, gained))


def test_holms_correction() -> None:
    """The example is worked by hand: 4 × 0.01, 3 × 0.02, then never less, and never above 1."""
    assert holm([0.02, 0.01, 0.6, 0.025]) == pytest.approx([0.06, 0.04, 0.6, 0.06])
    assert holm([0.7, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def simulated(
    chance: np.random.Generator, gain: float = 0.0, alike: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Differences of two runs by photo, (repeats, photos), and each photo's photographer.

    Both are right about 40 % of the photos. With `alike`, a photographer's photos are better for
    one of the runs, which one is a coin's: no run is better, and photos are not independent.
    """
    photographer = np.repeat(np.arange(PHOTOGRAPHERS), PHOTOS // PHOTOGRAPHERS)
    lean = alike * chance.choice([-1, 1], (REPEATS, PHOTOGRAPHERS))[:, photographer]
    first, second = chance.random((2, REPEATS, PHOTOS))
    right = first < 0.4 - lean, second < 0.4 + gain + lean
    return right[1].astype(np.int64) - right[0], photographer


def rejected(differences: np.ndarray) -> float:
    """Per cent of the repeats with a p of 0.05 or less."""
    return 100 * float(np.mean([sign_flip(row) <= 0.05 for row in differences]))


def by_photographer(differences: np.ndarray, photographer: np.ndarray) -> np.ndarray:
    return np.stack([np.bincount(photographer, row) for row in differences]).astype(np.int64)


def test_p_values_are_calibrated() -> None:
    """At 0.05, about 5 % of 200 repeats without a difference are rejected, and few are missed."""
    chance = np.random.default_rng(0)
    differences, photographer = simulated(chance)
    assert rejected(differences) == pytest.approx(5, abs=3)
    assert rejected(by_photographer(differences, photographer)) == pytest.approx(5, abs=3)
    differences, photographer = simulated(chance, gain=0.15)
    assert rejected(by_photographer(differences, photographer)) > 90


def test_photos_that_are_not_independent_fool_mcnemars_test_alone() -> None:
    differences, photographer = simulated(np.random.default_rng(1), alike=0.2)
    assert rejected(differences) > 12
    assert rejected(by_photographer(differences, photographer)) == pytest.approx(5, abs=3)


def test_intervals_by_photographer_hold_no_difference_in_95_of_100_repeats() -> None:
    differences, photographer = simulated(np.random.default_rng(2), alike=0.2)
    draws = Bootstrap(photographer, 1000)
    columns = differences.T.astype(np.float64)
    samples = draws.ratios(columns, np.ones_like(columns))
    intervals = [draws.interval(column) for column in samples.T]
    held = [low <= 0 <= high for low, high in filter(None, intervals)]
    assert 100 * np.mean(held) == pytest.approx(95, abs=3)


def test_holms_correction_keeps_the_chance_of_any_false_difference() -> None:
    """Ten comparisons with one baseline, none of them a difference: 200 repeats."""
    chance = np.random.default_rng(3)
    right = (chance.random((11, REPEATS, PHOTOS)) < 0.4).astype(np.int64)
    p = np.array([[sign_flip(row) for row in other - right[0]] for other in right[1:]])
    uncorrected = 100 * np.mean(p.min(axis=0) <= 0.05)
    corrected = 100 * np.mean([min(holm(column)) <= 0.05 for column in p.T.tolist()])
    assert uncorrected > 20
    assert corrected <= 8
