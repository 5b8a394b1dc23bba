"""Recorded replies read again: of a run, and of anyone's file, against published figures."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.external import match
from img2loc.bench.scores.published import rows_of
from img2loc.bench.scores.replies import reparse
from img2loc.bench.scores.score import score
from img2loc.cli import app
from img2loc.core.errors import RunError, SourceError
from tests.conftest import SHARED
from tests.score_toys import truths, write_run

REPLIES = SHARED / "replies"
MODELS = {
    "gpt-5": "GPT-5",
    "o3": "o3",
    "qwen3-vl-235b": "Qwen3-VL-235B",
    "qwen3-vl-30b": "Qwen3-VL-30B",
    "claude-opus-4.5": "Claude Opus 4.5",
}


@pytest.mark.parametrize("model", MODELS)
def test_the_replies_to_geobench_score_as_published(model: str) -> None:
    """Within 0.1: of o3's 931 replies one photo fewer is within 750 and 2500 km than published."""
    if not REPLIES.is_dir():
        pytest.skip(f"the replies are not at {REPLIES}")
    (row,) = [row for row in rows_of("geobench") if row.method == MODELS[model]]
    matched = match(
        REPLIES / f"geobench-{model}.jsonl", REPLIES / "geobench-truth.csv", subset=True
    )
    scores = score(matched.outcomes, units=())
    found = {km: round(share, 1) for km, share in scores["accuracy"].items()}
    assert found == pytest.approx(row.accuracy, abs=0.1 + 1e-9)
    assert matched.without_row == 934 - scores["n"]


def reply(text: str, status: str = "answered") -> dict[str, Any]:
    fixed = {"model": "m", "usage": None, "detail": "", "key": ""}
    return {"text": text, "status": status, **fixed}


def recorded(
    status: str, at: tuple[float, float] | None, *texts: str, **more: Any
) -> dict[str, Any]:
    """A line as an earlier parser left it."""
    lat, lon = at or (None, None)
    base: dict[str, Any] = {
        "status": status,
        "lat": lat,
        "lon": lon,
        "radius_km": None,
        "detail": "",
        "nearest": [],
    }
    return {**base, "replies": [reply(text) for text in texts], **more}


NEAR = [
    {"lat": 10.0, "lon": 20.0 + step, "similarity": 0.9 - step / 100, "id": "n", "label": ""}
    for step in range(3)
]


def run_of(folder: Path, kind: str = "zeroshot") -> Path:
    truth = truths([(10.0, 20.0)] * 7)
    lines = [
        recorded("located", (10.0, 20.0), "10.0, 20.0", radius_km=7.5),
        recorded("unparsed", None, '{"lat": 10.0, "lon": 20.0}', nearest=NEAR),
        recorded("located", (50.0, 50.0), "10.0, 20.0", radius_km=9.0),
        recorded("located", (12.0, 34.0), "I'm sorry, I can't tell."),
        recorded("unparsed", None, "no idea where", "10.0, 20.0"),  # Its second turn answers.
        recorded("unreadable", None),
        recorded("failed", None, replies=[reply("", "failed")]),
    ]
    predictions = {row.id: line for row, line in zip(truth, lines, strict=True)}
    return write_run(folder, truth, predictions, config={"locator": {"kind": kind}})


def test_a_run_is_read_again_by_todays_parser(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    before = (folder / "predictions.jsonl").read_bytes()
    again = reparse(Run.open(folder))
    lines = list(again.run.predictions.values())
    assert [line["status"] for line in lines] == [
        *("located", "located", "located", "refused", "located", "unreadable", "failed")
    ]
    assert all((line["lat"], line["lon"]) == (10.0, 20.0) for line in lines[:3])
    # As it was recorded; then over the neighbours on the line; then without any; then no answer.
    assert lines[0]["radius_km"] == 7.5
    assert [(line["radius_km"], line["spread_km"]) for line in lines[1:4]] == [
        *((None, pytest.approx(109.5, abs=0.1)), (None, None), (None, None))
    ]
    assert again.changes == {"same": 2, "gained": 2, "moved": 1, "lost": 1, "without_reply": 1}
    assert (folder / "predictions.jsonl").read_bytes() == before


def test_a_second_turn_that_failed_does_not_count(tmp_path: Path) -> None:
    line = recorded("unparsed", None, replies=[reply("no idea where"), reply("", "failed")])
    folder = write_run(
        *(tmp_path / "run", truths([(1.0, 2.0)]), {"0.jpg": line}),
        config={"locator": {"kind": "zeroshot"}},
    )
    assert reparse(Run.open(folder)).run.predictions["0.jpg"]["status"] == "unparsed"


def test_score_says_what_parsing_again_changed(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run")
    plain = CliRunner().invoke(app, ["bench", "score", str(folder), "--json"])
    again = CliRunner().invoke(app, ["bench", "score", str(folder), "--reparse", "--json"])
    assert [round(json.loads(done.stdout)["accuracy"]["1"], 1) for done in (plain, again)] == [
        *(14.3, 57.1)
    ]
    note = (
        "--reparse: answers 2 gained, 1 lost, 1 moved; 2 photos as recorded, and 1 without a reply."
    )
    assert note in again.stderr
    assert json.loads((folder / "scores.json").read_text())["notes"] == [note]


@pytest.mark.parametrize("kind", ["ensemble", "retrieval"])
def test_what_no_single_reply_decides_is_not_parsed_again(kind: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="replay"):
        reparse(Run.open(run_of(tmp_path / "run", kind)))


def test_damaged_replies_are_an_error(tmp_path: Path) -> None:
    line = recorded("located", (1.0, 2.0), replies=[{"text": "1, 2"}])
    folder = write_run(
        *(tmp_path / "run", truths([(1.0, 2.0)]), {"0.jpg": line}),
        config={"locator": {"kind": "zeroshot"}},
    )
    with pytest.raises(RunError, match=r"replies of 0\.jpg"):
        reparse(Run.open(folder))


def replies_file(folder: Path, *entries: object) -> tuple[Path, Path]:
    replies, truth = folder / "r.jsonl", folder / "t.csv"
    replies.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    truth.write_text("id,lat,lon\n" + "".join(f"{number},10,20\n" for number in range(5)))
    return replies, truth


def test_a_file_of_replies_is_scored(tmp_path: Path) -> None:
    replies, truth = replies_file(
        tmp_path,
        {"id": 0, "reply": "Rome\u2028{lat: 10.0, lon: 20.0}"},
        {"id": "1", "reply": "I'm sorry, I can't help with that."},
        {"id": 2, "reply": "0.55"},
        {"id": 3, "reply": None},
    )
    matched = match(replies, truth)
    statuses = ("located", "refused", "unparsed", "failed")
    assert matched.outcomes.status == (*statuses, "missing")
    assert score(matched.outcomes, units=())["accuracy"]["1"] == 20.0
    assert any("--subset" in note and "wrong" in note for note in matched.notes())
    subset = match(replies, truth, subset=True)
    assert subset.outcomes.status == statuses
    assert score(subset.outcomes, units=())["accuracy"]["1"] == 25.0
    assert "1 photos of the truth have no row and are left out (--subset)." in subset.notes()


@pytest.mark.parametrize("entry", [{"id": 1}, {"reply": "x"}, [1], {"id": 1, "reply": {}}, "x"])
def test_a_line_without_id_and_reply_is_an_error(entry: object, tmp_path: Path) -> None:
    replies, truth = replies_file(tmp_path, {"id": 0, "reply": "10, 20"}, entry)
    with pytest.raises(SourceError, match="line 2 has no id and reply"):
        match(replies, truth)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["RUN", "--subset"], "--subset is for --predictions"),
        (["--predictions", "p", "--truth", "t", "--reparse"], "--reparse is for a RUN"),
    ],
)
def test_options_that_do_not_go_together(arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["bench", "score", *arguments])
    assert done.exit_code == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())
