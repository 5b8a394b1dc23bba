"""Two runs over the same photographs, photo by photo."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from img2loc.bench.scores.compare import compare
from img2loc.bench.scores.outcomes import Outcomes
from img2loc.cli import app
from img2loc.core.errors import RunError, SourceError
from tests.score_toys import away, located, outcomes, random_outcomes, truths, write_run

TRUTH = truths([(10.0, float(lon)) for lon in range(40)], [f"p{row // 2}" for row in range(40)])


def run_of(errors: dict[int, float], name: str) -> Outcomes:
    """Errors by row; the others have no answer."""
    guesses = {f"{row}.jpg": away(10.0, float(row), km, 90.0) for row, km in errors.items()}
    return outcomes(TRUTH, guesses, name)


FIRST = run_of(dict.fromkeys(range(30), 10.0), "first")
# Six lost at 25 km (two of them to no answer), three gained.
SECOND = run_of(
    dict.fromkeys(range(6, 33), 10.0) | {row: 100.0 + row for row in range(4)}, "second"
)


def test_differences_sides_and_regressions() -> None:
    found = compare(FIRST, SECOND)
    row = found["thresholds"]["25"]
    assert (row["first"], row["second"], row["difference"]) == (75.0, 67.5, -7.5)
    assert row["lost"] == [f"{n}.jpg" for n in range(6)]
    assert row["gained"] == ["30.jpg", "31.jpg", "32.jpg"]
    assert row["p"] == pytest.approx(2 * sum(math.comb(9, k) for k in range(4)) / 2**9)
    assert row["interval"][0] < -7.5 < row["interval"][1]
    assert (found["intervals"]["clusters"], found["intervals"]["photographers"]) == (20, 20)
    assert found["not_run"] == {"first": 10, "second": 9}
    regressions = [
        (entry["id"], entry["second_km"], entry["second_status"]) for entry in found["regressions"]
    ]
    assert [name for name, _, _ in regressions] == [
        "4.jpg",
        "5.jpg",
        "3.jpg",
        "2.jpg",
        "1.jpg",
        "0.jpg",
    ]
    assert regressions[0][1:] == (None, "missing")
    assert regressions[2][1] == pytest.approx(103.0)
    assert found["thresholds"]["1"]["p"] == 1.0


def test_turning_the_runs_round_turns_the_signs_round() -> None:
    there, back = compare(FIRST, SECOND), compare(SECOND, FIRST)
    for km, row in there["thresholds"].items():
        other = back["thresholds"][km]
        assert other["difference"] == -row["difference"]
        assert other["p"] == row["p"]
        assert other["interval"] == pytest.approx([-row["interval"][1], -row["interval"][0]])
        assert (other["gained"], other["lost"]) == (row["lost"], row["gained"])


def test_pairs_narrow_the_interval() -> None:
    """A run that differs in a few photographs has a narrow interval of the difference."""
    base = random_outcomes(1000)
    guess = base.guess.copy()
    guess[np.flatnonzero(base.answered)[:30]] = np.nan
    found = compare(base, replace(base, guess=guess, name="other"), unit="photos")
    row = found["thresholds"]["2500"]
    assert row["interval"][1] - row["interval"][0] < 3.5
    assert row["difference"] == pytest.approx(row["second"] - row["first"])
    assert row["p"] < 0.001


def test_only_common_photos_are_compared() -> None:
    fewer = outcomes(TRUTH[5:35], {"5.jpg": located(10.0, 5.0)}, "fewer")
    found = compare(FIRST, fewer)
    assert (found["n"], found["only_first"], found["only_second"]) == (30, 10, 0)


def test_runs_that_cannot_be_compared() -> None:
    with pytest.raises(SourceError, match="no photo in common"):
        compare(outcomes(TRUTH[:3], {}), outcomes(TRUTH[3:], {}))
    moved = replace(FIRST, truth=FIRST.truth + 0.001, name="moved")
    with pytest.raises(SourceError, match="disagree about where 40 photos"):
        compare(FIRST, moved)


def test_compare_on_the_command_line(tmp_path: Path) -> None:
    records: dict[str, dict[str, Any]] = {row.id: located(10.0, row.location.lon) for row in TRUTH}
    a = write_run(tmp_path / "a", TRUTH, records)
    b = write_run(tmp_path / "b", TRUTH, records | {"0.jpg": {"status": "refused"}})
    shown = CliRunner().invoke(app, ["bench", "compare", str(a), str(b)])
    assert shown.exit_code == 0, shown.output
    assert "-2.50" in shown.stdout
    assert "refused" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    both = CliRunner().invoke(
        app, ["bench", "compare", str(a), str(b), "--bootstrap", "both", "--json"]
    )
    assert [one["intervals"]["over"] for one in json.loads(both.stdout)["comparisons"]] == [
        "photographers",
        "photos",
    ]
    assert "were not run" not in shown.stdout
    del records["0.jpg"]
    part = write_run(tmp_path / "part", TRUTH, records)
    shown = CliRunner().invoke(app, ["bench", "compare", str(a), str(part)])
    assert (
        shown.stdout.splitlines()[0]
        == "1 of these photos were not run in the second: they count as wrong."
    )
    missing = CliRunner().invoke(app, ["bench", "compare", str(a), str(tmp_path / "none")])
    assert isinstance(missing.exception, RunError)
