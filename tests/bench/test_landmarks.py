"""Runs over real photographs, with the shipped encoder and gallery and a loopback LMM."""

import sys
from pathlib import Path

import pytest

from img2loc.bench.runs.run_folder import Run
from img2loc.cli import _run
from tests.server import ChatServer


def test_a_run_on_real_photographs(
    landmarks: Path,
    chat: ChatServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def cli(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["img2loc", *map(str, words)])
        code = _run(debug=False)
        err = capsys.readouterr().err
        assert code == 0, err
        return err

    command = (
        "bench",
        "run",
        landmarks / "queries.csv",
        "--locator",
        "img2loc",
        "--gallery",
        "starter",
        "--out",
        "R",
    )
    err = cli(*command, "--limit", "4", "--yes")
    assert "4 of 4 photos done: 100.0% answered" in err
    run = Run.open(Path("R"))
    assert all(
        len(line["nearest"]) == len(line["farthest"]) == 16 for line in run.predictions.values()
    )
    assert all(Path(line["photo"]).is_file() for line in run.predictions.values())
    assert run.about["encoder"].startswith("lite0/")
    assert len(chat.requests) == 4
