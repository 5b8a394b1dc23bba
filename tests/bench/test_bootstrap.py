"""Bootstrap intervals against numpy done the long way, and McNemar's test against binomial sums."""

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from img2loc.bench.scores.bootstrap import Unit, bootstrap, mcnemar
from img2loc.bench.scores.external import match, read_truth
from img2loc.bench.scores.score import score
from img2loc.core.geo import Array
from tests.conftest import SHARED


def the_long_way(
    values: Array, authors: Sequence[str], resamples: int
) -> tuple[list[float], list[float]]:
    """Means and medians of resamples that are drawn one by one, as lists of photographs."""
    chance = np.random.default_rng(7)
    groups = [
        [row for row, name in enumerate(authors) if name == author]
        for author in dict.fromkeys(authors)
    ]
    means, medians = [], []
    for _ in range(resamples):
        rows = [
            row for pick in chance.integers(0, len(groups), len(groups)) for row in groups[pick]
        ]
        means.append(float(values[rows].mean()))
        medians.append(float(np.median(values[rows])))
    return means, medians


@pytest.mark.parametrize("unit", ["photographers", "photos"])
def test_intervals_agree_with_resampling_one_by_one(unit: Unit) -> None:
    chance = np.random.default_rng(1)
    authors = [f"p{int(number)}" for number in chance.geometric(0.05, 400)]
    level = {author: chance.normal(0, 1) for author in authors}
    values = np.array([level[author] + chance.normal(0, 1) for author in authors])
    draws = bootstrap(authors, unit, resamples=3000)
    drawn = authors if unit == "photographers" else [str(row) for row in range(len(authors))]
    means, medians = the_long_way(values, drawn, 3000)
    columns = values[:, None]
    for samples, other in (
        (draws.ratios(columns, np.ones_like(columns))[:, 0], means),
        (draws.medians(values), medians),
    ):
        assert draws.interval(samples) == pytest.approx(np.percentile(other, [2.5, 97.5]), abs=0.05)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1000), min_size=1, max_size=12), st.integers(0, 5))
def test_resampled_medians_are_medians(values: list[float], seed: int) -> None:
    draws = bootstrap([""] * len(values), "photos", resamples=20, seed=seed)
    counts = np.concatenate(list(draws._draws())).astype(int)
    expected = [np.median(np.repeat(values, row)) for row in counts]
    assert draws.medians(np.array(values)) == pytest.approx(expected)


def test_what_is_not_answered_takes_no_part_in_the_median() -> None:
    draws = bootstrap([""] * 4, "photos", resamples=200)
    some = draws.medians(np.array([np.nan, 5.0, 5.0, np.nan]))
    # One resample in sixteen draws neither of the two.
    assert (some[~np.isnan(some)] == 5.0).all()
    assert 0 < np.isnan(some).sum() < 40
    assert np.isnan(draws.medians(np.full(4, np.nan))).all()


def test_the_same_seed_draws_the_same() -> None:
    values = np.arange(30.0)
    first, again, other = (
        bootstrap([""] * 30, "photos", 100, seed).medians(values) for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()


def test_photos_without_an_author_are_clusters_of_their_own() -> None:
    assert bootstrap(["a", "", "a", "", "b"], "photographers").cluster.tolist() == [0, 1, 0, 2, 3]


def test_one_photographer_gives_no_interval() -> None:
    draws = bootstrap(["a"] * 9, "photographers")
    assert draws.interval(draws.medians(np.arange(9.0))) is None


def test_over_photographers_is_visibly_wider_on_im2gps3k(tmp_path: Path) -> None:
    path = SHARED / "benchmarks" / "im2gps3k.csv"
    if not path.is_file():
        pytest.skip(f"the truth is not at {path}")
    with (tmp_path / "p.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "lat", "lon"])
        writer.writerows(
            [row.id, 48.86, 2.35] for row in read_truth(path)[0]
        )  # Paris for everything: no photograph is needed.
    scores = score(match(tmp_path / "p.csv", path).outcomes, units=("photographers", "photos"))
    over = scores["intervals"]
    assert (over["photographers"]["clusters"], over["photos"]["clusters"]) == (198, 2997)
    for km in ("750", "2500"):
        wide, narrow = (
            over[unit]["accuracy"][km][1] - over[unit]["accuracy"][km][0]
            for unit in ("photographers", "photos")
        )
        assert wide > 1.5 * narrow, km
        # The narrow one is the binomial's, 2 · 1.96 · √(p(1 − p)/n).
        p = scores["accuracy"][km] / 100
        assert narrow == pytest.approx(100 * 2 * 1.96 * math.sqrt(p * (1 - p) / 2997), rel=0.1)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial(lost: int, gained: int) -> None:
    expected = binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9)
