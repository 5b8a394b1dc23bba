"""The harness on real photographs, where they are at hand, with the shipped encoder and gallery and a loopback LMM."""

import sys
from pathlib import Path

import pytest

from img2loc.bench.runs import Run
from img2loc.cli import _run
from tests.server import ChatServer


def test_a_run_on_real_photographs(
    landmarks: Path, chat: ChatServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cli(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["img2loc", *map(str, words)])
        code = _run(debug=False)
        err = capsys.readouterr().err
        assert code == 0, err
        return err

    for locator in ("retrieval", "img2loc"):
        command = ("bench", "run", landmarks / "queries.csv", "--locator", locator, "--gallery", "starter", "--out", locator)
        err = cli(*command, "--limit", "6", "--yes")
        assert "6 of 6 photos done: answered 100.0%" in err
        run = Run.open(Path(locator))
        assert all(line["nearest"] and line["photo"] for line in run.predictions.values())
        assert run.about["encoder"].startswith("lite0/")
    assert len(chat.requests) == 6
    assert Run.open(Path("retrieval")).predictions.keys() == Run.open(Path("img2loc")).predictions.keys()
