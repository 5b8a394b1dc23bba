"""An ablation's table: rows with repeats, pairs with paired intervals and p, and copies."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from img2loc.bench.reports.ablation_table import ablation_table
from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.ablation import Condition, ablation
from img2loc.bench.scores.compare import compare
from img2loc.bench.scores.copies import copies
from img2loc.bench.scores.outcomes import Outcomes
from img2loc.core.errors import SourceError
from tests.score_toys import away, located, outcomes, random_outcomes, truths, write_run

TRUTH = truths([(10.0, float(lon)) for lon in range(40)], [f"p{row // 2}" for row in range(40)])


def run_of(right: range, name: str = "toy") -> Outcomes:
    """Right within 25 km for these photographs, 9,000 km off for the others."""
    guesses = {
        row.id: away(10.0, row.location.lon, 10.0 if at in right else 9000.0, 90.0)
        for at, row in enumerate(TRUTH)
    }
    return outcomes(TRUTH, guesses, name)


def test_a_pair_of_single_runs_is_what_compare_says() -> None:
    toy = random_outcomes(300)
    toy = replace(toy, status=tuple(status.replace("missing", "refused") for status in toy.status))
    guess = np.where(np.arange(300)[:, None] % 3, toy.guess, np.nan)
    other = replace(toy, name="other", guess=guess)
    table = ablation([Condition("a", (toy,)), Condition("b", (other,))], [("a", "b")])
    expected = compare(toy, other)["thresholds"]
    for km, cell in table["pairs"][0]["thresholds"].items():
        assert cell["difference"] == pytest.approx(expected[km]["difference"])
        assert cell["interval"] == pytest.approx(expected[km]["interval"])
        assert cell["p"] == pytest.approx(expected[km]["p"])
        assert (cell["gained"], cell["lost"]) == (0, len(expected[km]["lost"]))
    assert table["rows"][0]["thresholds"]["25"]["accuracy"] == expected["25"]["first"]


def test_p_by_photographer_and_its_correction() -> None:
    """Ten photos gained by five photographers: as strong as five coins, not as ten."""
    conditions = [Condition("a", (run_of(range(20)),)), Condition("b", (run_of(range(30)),))]
    table = ablation(conditions, [("a", "b"), ("a", "a")])
    cell = table["pairs"][0]["thresholds"]["25"]
    assert cell["p"] == pytest.approx(2 / 2**10)
    assert cell["p_clusters"] == pytest.approx(2 / 2**5)
    assert table["tests"] == 10
    assert cell["p_holm"] == pytest.approx(min(1, 10 * 2 / 2**5))
    assert table["pairs"][1]["thresholds"]["25"]["p_holm"] == 1.0
    assert json.dumps(table, allow_nan=False)


def test_repeats_have_a_mean_and_a_deviation() -> None:
    sampled = tuple(run_of(range(right)) for right in (10, 20, 30))
    table = ablation(
        [Condition("once", (run_of(range(20)),)), Condition("thrice", sampled)],
        [("once", "thrice")],
    )
    row = table["rows"][1]
    assert row["runs"] == 3
    assert row["thresholds"]["25"]["accuracy"] == pytest.approx(50)
    assert row["thresholds"]["25"]["sd"] == pytest.approx(25)  # 25, 50 and 75 per cent.
    assert table["rows"][0]["thresholds"]["25"]["sd"] is None
    cell = table["pairs"][0]["thresholds"]["25"]
    # A third of ten photographs lost, a third of ten gained.
    assert cell["difference"] == pytest.approx(0)
    assert (cell["gained"], cell["lost"], cell["p"]) == (10, 10, 1.0)


def test_a_pair_is_compared_over_what_both_have() -> None:
    whole = run_of(range(20))
    part = outcomes(TRUTH, {"0.jpg": located(50.0, 0.0), "1.jpg": located(10.0, 1.0)}, "part")
    nothing = outcomes(TRUTH, {}, "nothing")
    conditions = [Condition(run.name, (run,)) for run in (whole, part, nothing)]
    table = ablation(conditions, [("toy", "part"), ("toy", "nothing")])
    assert [(row["n"], row["not_run"]) for row in table["rows"]] == [(40, 0), (2, 38), (0, 40)]
    assert table["rows"][1]["thresholds"]["25"]["accuracy"] == 50.0
    first, second = table["pairs"]
    assert (first["n"], first["thresholds"]["25"]["difference"]) == (2, -50.0)
    assert (second["n"], second["thresholds"]["25"]["difference"]) == (0, None)
    assert json.dumps(table, allow_nan=False)


def test_runs_of_other_photos_are_refused() -> None:
    others = outcomes(TRUTH[1:], {}, "others")
    with pytest.raises(SourceError, match="toy and others are not over the same photos"):
        ablation([Condition("a", (run_of(range(3)),)), Condition("b", (others,))], [])


def test_copies_of_neighbours_and_how_many_are_chance(tmp_path: Path) -> None:
    shown = {
        "nearest": [{"lat": 1.23456, "lon": 2.0}, {"lat": 5.0, "lon": 6.0}],
        "farthest": [{"lat": -40.0, "lon": -50.0}],
        "prompts": ["Where?"],
    }
    answers = {
        "0.jpg": located(1.2346, 2.0, **shown),  # As a prompt gives it.
        "1.jpg": located(5.0, 6.0, **shown),
        "2.jpg": located(-40.0, -50.0, **shown),
        "3.jpg": located(5.0, 6.001, **shown),  # 110 m away.
        "4.jpg": {"status": "refused", "lat": None, "lon": None, **shown},
    }
    run = Run.open(write_run(tmp_path / "run", TRUTH[:5], answers))
    nothing = {"nearest": [], "farthest": [], "prompts": ["Where?"]}
    blind = {f"{n}.jpg": located(9.0, 9.0, **nothing) for n in range(5)}
    blind["4.jpg"] = located(5.0, 6.0, **nothing)
    without = Run.open(write_run(tmp_path / "without", TRUTH[:5], blind))
    assert copies([run], without) == {
        "n": 4,
        "first": 25.0,
        "nearest": 50.0,
        "farthest": 25.0,
        "by_chance": 20.0,
    }
    assert copies([without], without) is None
    assert math.isclose(copies([run, run])["nearest"], 50.0)  # type: ignore[index]


def test_the_table_says_which_differences_hold() -> None:
    conditions = [Condition("a", (run_of(range(4)),)), Condition("b", (run_of(range(40)),))]
    text = ablation_table(ablation(conditions, [("a", "b")]))
    assert "| a | 1 | 40 | 100.0 % | 0.00 [0.0, 0.0] | 10.00 [0.0, 25.0] |" in text
    assert "+90.00 [+75.00, +100.00], p <0.001 / <0.001 / <0.001" in text
    held = text.split("Differences that hold at 0.05 after the correction:\n")[1]
    assert held.splitlines() == [
        f"- a → b: +90.00 points within {km} km (p <0.001)" for km in (25, 200, 750, 2500)
    ]
    assert "No difference holds" in ablation_table(ablation(conditions, [("a", "a")]))
