"""A promised share is kept: on any law, anywhere on the sphere, for photographers never seen."""

import numpy as np
import pytest

from img2loc.core.geo import EARTH_RADIUS_KM, Array, distances_km
from img2loc.locators.conformal import Clusters, Conformal, Evidence, Score, fit, quantile

SHARES = (0.5, 0.68, 0.9)
SCORES: tuple[Score, ...] = ("constant", "spread", "fitted", "bins")


def moved(points: Array, km: Array, bearing: Array) -> Array:
    """Points so far away in a direction, (lat, lon) in degrees: over poles and the antimeridian."""
    lat, lon = np.radians(points).T
    arc = km / EARTH_RADIUS_KM
    to_lat = np.arcsin(
        np.clip(np.sin(lat) * np.cos(arc) + np.cos(lat) * np.sin(arc) * np.cos(bearing), -1, 1)
    )
    to_lon = lon + np.arctan2(
        np.sin(bearing) * np.sin(arc) * np.cos(lat), np.cos(arc) - np.sin(lat) * np.sin(to_lat)
    )
    at = np.stack([to_lat, (to_lon + np.pi) % (2 * np.pi) - np.pi], axis=1)
    return np.asarray(np.degrees(at))


def drawn(n: int, random: np.random.Generator) -> tuple[Array, Evidence]:
    """Errors with heavy tails of answers near the poles and the antimeridian, and their evidence.

    The spread tells something about the error, and so does the similarity.
    """
    truth = np.stack([random.choice([-89.9, 0.0, 89.9], n), random.uniform(170, 190, n)], axis=1)
    truth[:, 1] = (truth[:, 1] + 180) % 360 - 180
    spread = np.exp(random.normal(4, 2, n))
    similarity = random.uniform(0.2, 0.95, n)
    scale = spread**0.7 * np.exp(3 * (0.6 - similarity))
    km = np.minimum(scale * np.abs(random.standard_t(1.2, n)), 20_000)
    guess = moved(truth, km, random.uniform(0, 2 * np.pi, n))
    return distances_km(guess, truth), Evidence(spread, similarity)


@pytest.mark.parametrize("n", [100, 1000, 10_000])
@pytest.mark.parametrize("score", [None, *SCORES])
def test_coverage_is_nominal(n: int, score: Score | None) -> None:
    random = np.random.default_rng(n)
    repeats, held = (200, 200) if n < 10_000 else (20, 2000)
    covered: dict[float, list[float]] = {share: [] for share in SHARES}
    for repeat in range(repeats):
        errors, evidence = drawn(n + held, random)
        known = np.arange(n + held) < n
        found = fit(
            errors[known], evidence.some(known), np.arange(n), SHARES, seed=repeat, score=score
        )
        for share in SHARES:
            radius = found.radius_km(evidence.some(~known), share)
            covered[share].append(float((errors[~known] <= radius).mean()))
    for share in SHARES:
        # A repetition's own deviation has both the calibration's and the held-out photos' part.
        one = np.sqrt(share * (1 - share) * (1 / held + 1 / min(n / 2, n)))
        # Groups of half of n in four bins promise up to one in their number more.
        more = 4 / (n / 2) if score in ("bins", None) else 2 / n
        mean = np.mean(covered[share])
        assert share - 3 * one / np.sqrt(repeats) <= mean
        assert mean <= share + more + 3 * one / np.sqrt(repeats)


def photographers(count: int, random: np.random.Generator) -> tuple[Array, Clusters]:
    """Errors and whose: the prolific take photographs of places that are easy to tell."""
    sizes = np.where(random.uniform(size=count) < 0.1, 200, 2)
    scale = np.where(sizes == 200, 1.0, 300.0) * np.exp(random.normal(0, 1, count))
    whose = np.repeat(np.arange(count), sizes)
    return np.asarray(scale[whose] * np.abs(random.normal(size=len(whose)))), whose.astype(np.int64)


def test_clusters_keep_the_promise_for_a_new_photographer() -> None:
    random = np.random.default_rng(5)
    kept: list[float] = []
    ignored: list[float] = []
    for repeat in range(100):
        errors, whose = photographers(150, random)
        new_errors, new_whose = photographers(150, random)
        unknown = np.full(len(errors), np.nan)
        new_unknown = np.full(len(new_errors), np.nan)
        weights = 1 / np.bincount(new_whose)[new_whose]  # One photograph of each new photographer.
        for coverage, clusters in ((kept, whose), (ignored, np.arange(len(errors)))):
            found = fit(errors, Evidence(unknown, unknown), clusters, SHARES, seed=repeat)
            radius = found.radius_km(Evidence(new_unknown, new_unknown), 0.9)
            coverage.append(float(np.average(new_errors <= radius, weights=weights)))
    assert 0.89 <= np.mean(kept) <= 0.93
    assert np.mean(ignored) < 0.75


def test_the_quantile_counts_the_photograph_to_come() -> None:
    scores = np.arange(1.0, 10.0)
    assert quantile(scores, np.arange(9), 0.9) == 9.0
    assert quantile(scores, np.arange(9), 0.91) == np.inf
    assert quantile(np.empty(0), np.empty(0, dtype=np.int64), 0.5) == np.inf
    # Two photographers: three photographs of one weigh as much as one of the other.
    assert quantile(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0, 0, 0, 1]), 0.33) == 3.0
    assert quantile(np.array([1.0, 2.0, 3.0, 9.0]), np.array([0, 0, 0, 1]), 0.34) == 9.0


def test_a_spread_that_tells_much_is_used_and_one_that_tells_nothing_is_not() -> None:
    random = np.random.default_rng(0)
    n = 2000
    spread = np.exp(random.normal(4, 2, n))
    unknown = np.full(n, np.nan)
    told = spread * np.abs(random.normal(size=n))
    found = fit(told, Evidence(spread, unknown), np.arange(n), SHARES)
    assert found.score in ("spread", "fitted")
    blind = np.exp(random.normal(6, 0.2, n))
    found = fit(blind, Evidence(spread, unknown), np.arange(n), SHARES)
    assert found.score in ("bins", "constant", "fitted")
    radius = found.radius_km(Evidence(spread, unknown), 0.9)
    assert radius.max() / radius.min() < 2


def test_neither_agreement_nor_similarity_makes_an_answer_less_sure() -> None:
    """Where photographs say otherwise, by chance, the evidence is not used."""
    random = np.random.default_rng(1)
    spread, similarity = np.exp(random.normal(4, 1, 400)), random.uniform(0, 1, 400)
    errors = 1000 / spread * np.exp(2 * similarity)
    evidence = Evidence(spread, similarity)
    found = fit(errors, evidence, np.arange(400), SHARES, score="fitted")
    assert found.line[1:] == (0.0, 0.0)


def test_answers_without_a_spread_are_a_group_of_their_own() -> None:
    random = np.random.default_rng(2)
    n = 1000
    spread = np.where(np.arange(n) % 2 == 0, np.nan, 10.0)
    errors = np.where(np.isnan(spread), 500.0, 5.0) * np.abs(random.normal(size=n))
    evidence = Evidence(spread, np.full(n, np.nan))
    radius = fit(errors, evidence, np.arange(n), SHARES).radius_km(evidence, 0.9)
    assert radius[0] > 50 * radius[1]
    for of in (np.isnan(spread), ~np.isnan(spread)):
        assert (errors <= radius)[of].mean() == pytest.approx(0.9, abs=0.04)


def test_with_few_photographers_one_radius_serves_all() -> None:
    errors = np.arange(30.0)
    evidence = Evidence(np.ones(30), np.ones(30))
    found = fit(errors, evidence, np.arange(30), SHARES)
    assert found == Conformal("constant", (0.0, 0.0), (), found.quantiles)
    assert found.radius_km(evidence, 0.9).tolist() == [27.0] * 30
