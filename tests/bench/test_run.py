"""`bench run` as a user meets it: resumes, refuses, retries, and pays no more than it may."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from img2loc.bench.datasets.benchmark import Truth, find, rows_sha256
from img2loc.bench.runs.costs import Estimate
from img2loc.bench.runs.predict import Tally, prediction_record
from img2loc.bench.runs.run_folder import Run, writing
from img2loc.bench.runs.session import CostEstimate
from img2loc.cli import bench_runs
from img2loc.core.errors import ConfigError, RunError
from img2loc.core.types import Guess, Location, Photo, Reply, Usage
from tests.bench_toys import PLACES, benchmark, lines
from tests.conftest import Cli, MakePhoto, kill_when
from tests.server import ChatServer, fails, says

Bench = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(run: Cli) -> Bench:
    """Run a command; its exit code and what it wrote to stderr."""
    return lambda *words: run(*words)[::2]


@pytest.fixture
def toy(tmp_path: Path, make_photo: MakePhoto, cli: Bench) -> tuple[Path, ...]:
    """The options that run a quick encoder over a gallery of 12 photographs by four people."""
    config = tmp_path / "toy.toml"
    config.write_text(
        '[encoder.toy]\nkind = "tests.toys:HaltingEncoder"\n[lmm.gpt]\nretries = 0\nconcurrency ='
        ' 2\n[lmm.told]\nkind = "scripted"\nreplies = ["1.5, 2.5"]\n'
    )
    rows = [
        f"{make_photo(f'gallery/{n}.jpg', n).name},{lat},{lon},person{n % 4}"
        for n, (lat, lon) in enumerate(PLACES * 3)
    ]
    (tmp_path / "gallery" / "all.csv").write_text("file,lat,lon,author\n" + "\n".join(rows))
    code, err = cli(
        "index",
        "build",
        tmp_path / "gallery/all.csv",
        "--out",
        tmp_path / "g",
        "--encoder",
        "toy",
        "--config",
        config,
    )
    assert code == 0, err
    return Path("--config"), config, Path("--gallery"), tmp_path / "g"


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    return benchmark(tmp_path / "b", 9)


def test_a_truth_of_ids_alone_is_run(cli: Bench, toy: tuple[Path, ...], truth: Path) -> None:
    """As `bench score --truth` takes it: the ids name the photographs."""
    truth.write_text(truth.read_text().replace("file,", "id,").replace(".jpg", ""))
    code, err = cli("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    assert code == 0, err
    assert "9 of 9 photos done: 100.0% answered" in err
    assert [line["id"] for line in lines(Path("R"))] == [str(n) for n in range(100, 109)]
    truth.write_text("id,picture,lat,lon\n0,100.jpg,1,2\n")
    code, err = cli("bench", "run", truth, "--locator", "retrieval", "--out", "S", *toy)
    assert (code, "None of the 1 photos (such as 0) is in" in err) == (1, True)


def test_a_run_holds_what_the_contract_says(cli: Bench, toy: tuple[Path, ...], truth: Path) -> None:
    code, err = cli("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    assert code == 0, err
    assert "9 of 9 photos done" in err
    about = json.loads(Path("R/run.json").read_text())
    assert (about["format"], about["benchmark"], about["locator"], about["lmm"], about["n"]) == (
        1,
        "truth",
        "retrieval",
        None,
        9,
    )
    assert (about["gallery_rows"], about["encoder"], about["truth"]["rows"]) == (12, "pixels/6", 9)
    assert about["leaks"] == {
        "exclude": True,
        "similarity": 0.95,
        "excluded_similarity": 0.999,
        "ids_known": False,
        "digests_known": True,
        "authors_known": True,
        "truth_coordinates": None,
    }
    assert Path("R/truth.csv").read_text().splitlines()[:2] == [
        "id,lat,lon,author",
        "100.jpg,48.8584,2.2945,person33",
    ]
    run = Run.open(Path("R"))
    assert [row.id for row in run.truth] == [f"{n}.jpg" for n in range(100, 109)]
    line = run.predictions["100.jpg"]
    assert list(line) == [
        *(
            "id",
            "photo",
            "status",
            "lat",
            "lon",
            "radius_km",
            "radius_share",
            "spread_km",
            "best",
            "nearest",
            "farthest",
            "prompts",
            "replies",
            "repairs",
            "detail",
        ),
        *(
            "seconds",
            "input_tokens",
            "output_tokens",
            "cost_usd",
            "top_similarity",
            "excluded",
            "photographer_checked",
        ),
    ]
    assert line["top_similarity"] == line["nearest"][0]["similarity"]
    assert (line["lat"], line["lon"]) in PLACES
    assert (line["excluded"], line["photographer_checked"]) == (
        0,
        True,
    )  # Its photographer has no row in the gallery.
    assert about["config"]["gallery"]["of"] == "photos"
    facts = {
        "shipped": False,
        "doubts": [],
        "left_out": 0,
        "rows_sha256": rows_sha256(find(str(truth)).load()[0]),
    }
    assert facts.items() <= about["truth"].items()


def test_another_truth_under_a_benchmarks_name_is_noted_in_the_run(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    truth.write_text(truth.read_text() + "zero.jpg,0,0,x\n")
    files = ("--truth", truth, "--photos", truth.parent)
    code, err = cli(
        "bench", "run", "im2gps3k", *files, "--locator", "retrieval", "--out", "R", *toy
    )
    assert code == 0, err
    facts = Run.open(Path("R")).about["truth"]
    assert (facts["shipped"], facts["left_out"], facts["rows"]) == (True, 1, 9)
    assert facts["doubts"] == ["im2gps3k has 2,997 rows, and this file 9."]


def test_what_was_not_kept_out_is_not_said_to_have_been(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    cli(
        "bench",
        "run",
        truth,
        "--locator",
        "retrieval",
        "--out",
        "R",
        "--limit",
        "2",
        "--no-exclude",
        *toy,
    )
    assert [(line["excluded"], line["photographer_checked"]) for line in lines(Path("R"))] == [
        (None, False)
    ] * 2


def test_a_gallery_over_its_own_photos_counts_the_rows_that_it_leaves_out(
    cli: Bench, toy: tuple[Path, ...], tmp_path: Path
) -> None:
    bare = (tmp_path / "gallery" / "all.csv").read_text().splitlines()
    (tmp_path / "gallery" / "bare.csv").write_text(
        "\n".join(line.rpartition(",")[0] for line in bare)
    )
    cli("bench", "run", tmp_path / "gallery/bare.csv", "--locator", "retrieval", "--out", "R", *toy)
    found = lines(Path("R"))
    assert [(line["excluded"], line["photographer_checked"]) for line in found] == [(1, False)] * 12
    assert all(line["id"] not in {near["id"] for near in line["nearest"]} for line in found)
    assert Run.open(Path("R")).about["leaks"]["ids_known"] is True


def test_a_run_that_lost_its_truth_does_not_send_one_round_in_circles(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    command = ("bench", "run", truth, "--locator", "retrieval", "--out", "R", "--limit", "2", *toy)
    cli(*command)
    Path("R/truth.csv").unlink()
    code, err = cli(*command)
    assert code == 1
    assert "The run R has lost its truth.csv. Restore it, or choose another --out." in err


def test_the_same_command_goes_on_and_another_is_refused(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    command = ("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    cli(*command)
    whole = lines(Path("R"))
    written = Path("R/predictions.jsonl").read_bytes().splitlines(keepends=True)
    Path("R/predictions.jsonl").write_bytes(b"".join(written[:4]) + written[4][:30])
    assert Run.open(Path("R")).predictions.keys() == {f"{n}.jpg" for n in range(100, 104)}
    code, _ = cli(*command)
    assert code == 0
    assert lines(Path("R")) == whole
    for other in (("--limit", "3"), ("--no-exclude",), ("--locator", "retrieval-mode")):
        code, err = cli(*command, *other)
        assert code == 1
        assert "was begun differently" in err
        assert "choose another --out" in err
    assert lines(Path("R")) == whole


def test_a_damaged_line_in_the_middle_is_an_error(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    command = ("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    cli(*command)
    written = Path("R/predictions.jsonl").read_bytes().splitlines(keepends=True)
    Path("R/predictions.jsonl").write_bytes(written[0] + b"{half\n" + b"".join(written[2:]))
    code, err = cli(*command)
    assert code == 1
    assert "line 2 is damaged" in err


def test_two_at_once_in_one_folder_are_refused(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    command = ("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    cli(*command, "--limit", "2")
    run = Run.open(Path("R"))
    with writing(Path("R"), run.about, run.truth):
        code, err = cli(*command, "--limit", "2")
    assert code == 1
    assert "Another process is writing the run R" in err
    assert cli(*command, "--limit", "2")[0] == 0


def test_which_photos_are_asked(cli: Bench, toy: tuple[Path, ...], truth: Path) -> None:
    def chosen(*options: str) -> list[str]:
        out = Path(f"R{'-'.join(options)}")
        code, err = cli(
            "bench", "run", truth, "--locator", "retrieval", "--out", out, *toy, *options
        )
        assert code == 0, err
        return [row.id.removesuffix(".jpg") for row in Run.open(out).truth]

    assert chosen("--limit", "2") == ["100", "101"]
    assert chosen("--limit", "3-5") == ["102", "103", "104"]
    mixed = chosen("--shuffle", "--seed", "3")
    assert mixed != sorted(mixed)
    assert sorted(mixed) == [str(n) for n in range(100, 109)]
    assert chosen("--shuffle", "--seed", "3", "--limit", "4") == mixed[:4]
    for wrong in ("0", "5-3", "x", "20-30"):
        assert cli("bench", "run", truth, "--locator", "retrieval", "--limit", wrong, *toy)[0] == 1


def test_missing_and_broken_photos_are_lines_and_can_be_tried_again(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    kept = (truth.parent / "103.jpg").read_bytes()
    (truth.parent / "103.jpg").unlink()
    (truth.parent / "104.jpg").write_bytes(b"no picture")
    command = ("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    _, err = cli(*command)
    assert "1 of 9 photos are not in" in err
    run = Run.open(Path("R"))
    assert (run.predictions["103.jpg"]["status"], run.predictions["104.jpg"]["status"]) == (
        "unreadable",
        "unreadable",
    )
    (truth.parent / "103.jpg").write_bytes(kept)
    assert cli(*command)[0] == 0
    assert Run.open(Path("R")).predictions["103.jpg"]["status"] == "unreadable"
    cli(*command, "--retry-failed")
    run = Run.open(Path("R"))
    assert (run.predictions["103.jpg"]["status"], run.predictions["104.jpg"]["status"]) == (
        "located",
        "unreadable",
    )


def test_nothing_there_says_what_to_put_where(
    cli: Bench, tmp_path: Path, toy: tuple[Path, ...]
) -> None:
    code, err = cli("bench", "run", "im2gps3k", "--locator", "retrieval", *toy)
    assert code == 1
    assert "truth.csv" in err
    assert "im2gps3ktest.zip" in err
    code, err = cli("bench", "run", "im2gps4k", "--locator", "retrieval", *toy)
    assert "Known: geobench, gws15k, im2gps, im2gps3k, yfcc26k, yfcc4k" in err


def test_paid_requests_wait_for_a_yes(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    """gpt-4o has a price, wherever it is said to be."""
    command = ("bench", "run", truth, "--locator", "img2loc", "--lmm", "gpt", "--out", "R", *toy)
    code, err = cli(*command)
    assert code == 1
    assert "US dollars" in err
    assert "--yes, or --max-cost" in err
    assert chat.requests == []
    code, err = cli(*command, "--yes")
    assert code == 0, err
    run = Run.open(Path("R"))
    assert len(chat.requests) == 9
    for line in run.predictions.values():
        assert line["replies"][0]["text"] == "48.8584, 2.2945"
        assert (line["input_tokens"], line["output_tokens"]) == (321, 12)
        assert line["cost_usd"] == pytest.approx(321 * 2.5e-6 + 12 * 10e-6)
        assert len(line["prompts"]) == 1
        assert len(line["farthest"]) + len(line["nearest"]) == 12 - line["excluded"]
    assert run.about["prompts"].keys() == {"nearest-farthest"}


def test_the_money_is_not_overspent(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    command = ("bench", "run", truth, "--locator", "img2loc", "--out", "R", *toy)
    code, err = cli(*command, "--max-cost", "0.008")
    assert code == 3
    assert "Stopped by --max-cost" in err
    spent = sum(line["cost_usd"] for line in lines(Path("R")))
    assert 0 < spent <= 0.008
    assert len(chat.requests) == len(lines(Path("R"))) < 9
    assert cli(*command, "--max-cost", "1")[0] == 0
    assert len(lines(Path("R"))) == len(chat.requests) == 9


def test_kept_replies_cost_nothing_and_leave_the_money_to_others(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    command = ("bench", "run", truth, "--locator", "img2loc", *toy)
    assert cli(*command, "--out", "R", "--limit", "6", "--yes")[0] == 0
    paid = sum(line["cost_usd"] for line in lines(Path("R")))
    code, err = cli(
        *command, "--out", "S", "--max-cost", str(paid)
    )  # Enough for the three that are new, not for all nine.
    assert code == 0, err
    assert len(chat.requests) == 9
    assert [line["cost_usd"] > 0 for line in lines(Path("S"))] == [False] * 6 + [True] * 3
    assert [line["input_tokens"] for line in lines(Path("S"))] == [321] * 9


def test_what_was_asked_twice_is_paid_twice(tmp_path: Path) -> None:
    truth = [Truth("a", Location(1, 2)), Truth("b", Location(1, 2))]
    line: dict[str, Any] = {
        "id": "a",
        "status": "failed",
        "lat": None,
        "lon": None,
        "replies": [{}],
        "cost_usd": 0.25,
    }
    with writing(tmp_path / "R", {}, truth) as run:
        run.append(line)
        run.append(line | {"cost_usd": 0.5})
        assert Tally.of(run).cost_usd == 0.75
    again = Run.open(tmp_path / "R")
    assert Tally.of(again).cost_usd == Tally.of(again, truth).cost_usd == again.spent_usd == 0.75
    assert (Tally.of(again).done, Tally.of(again, truth).done) == (1, 0)


def test_at_a_terminal_the_question_is_asked_with_max_cost_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = CostEstimate("gpt", "http://lmm.invalid", 9, Estimate(1000, 40, 0.5), True)
    asked: list[str] = []
    monkeypatch.setattr("typer.confirm", lambda text, **options: asked.append(text))
    monkeypatch.setattr(bench_runs, "on_terminal", lambda stream: True)
    bench_runs.confirmation(True, None)(expected)
    assert asked == []
    bench_runs.confirmation(False, 2.0)(expected)
    assert asked == ["Go on?"]
    assert "about 0.50 US dollars, and no more than 2.00 in all" in capsys.readouterr().err
    monkeypatch.setattr(bench_runs, "on_terminal", lambda stream: False)
    bench_runs.confirmation(False, 2.0)(expected)
    assert asked == ["Go on?"]
    with pytest.raises(ConfigError, match="nobody is here to ask"):
        bench_runs.confirmation(False, None)(expected)


def test_a_price_that_is_not_known_cannot_be_kept_to(
    cli: Bench, toy: tuple[Path, ...], truth: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy[1]
    config.write_text(
        config.read_text()
        + '[lmm.far]\nkind = "openai"\nmodel = "m"\nbase_url = "http://lmm.invalid/v1"\n'
    )
    code, err = cli(
        "bench",
        "run",
        truth,
        "--locator",
        "zeroshot",
        "--lmm",
        "far",
        "--max-cost",
        "1",
        "--config",
        config,
    )
    assert code == 1
    assert "--max-cost needs the price of m" in err


def test_a_bad_key_stops_the_run_and_its_victims_are_not_done(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    chat.script(says("1.5, 2.5"), says("1.5, 2.5"), fails(401, "invalid_api_key", "bad key"))
    command = ("bench", "run", truth, "--locator", "img2loc", "--out", "R", "--yes", *toy)
    code, err = cli(*command)
    assert code == 1
    assert "bad key" in err
    assert [line["status"] for line in lines(Path("R"))] == ["located", "located"]
    chat.script(says("1.5, 2.5"))
    assert cli(*command)[0] == 0
    assert [line["status"] for line in lines(Path("R"))] == ["located"] * 9


def test_what_failed_is_kept_and_asked_again_when_told(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    chat.script(fails(500), says("1.5, 2.5"))
    command = (
        "bench",
        "run",
        truth,
        "--locator",
        "zeroshot",
        "--out",
        "R",
        "--yes",
        "--limit",
        "3",
        toy[0],
        toy[1],
    )
    code, err = cli(*command)
    assert code == 3
    assert "1 photos failed" in err
    assert cli(*command)[0] == 3
    assert cli(*command, "--retry-failed")[0] == 0
    assert len(lines(Path("R"))) == 4  # The line that failed stands; the last line of an id wins.
    assert {line["status"] for line in Run.open(Path("R")).predictions.values()} == {"located"}


def test_a_full_disk_and_a_folder_that_cannot_be_are_sentences(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    command = ("bench", "run", truth, "--locator", "retrieval", *toy)
    Path("file").write_text("")
    code, err = cli(*command, "--out", "file/R")
    assert code == 1
    assert "The run file/R cannot be written" in err
    cli(*command, "--out", "whole")
    script = (
        "import resource, sys\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\nfrom"
        " img2loc.cli import main\nmain()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, command), "--out", "R"],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert done.returncode == 1
    assert "The run R cannot be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("R/predictions.jsonl").read_bytes().endswith(b"\n")
    assert cli(*command, "--out", "R")[0] == 0
    assert lines(Path("R")) == lines(Path("whole"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_read_only_is_an_error(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    Path("R").mkdir(mode=0o500)
    code, err = cli("bench", "run", truth, "--locator", "retrieval", "--out", "R", *toy)
    assert code == 1
    assert "The run R cannot be written" in err


def environment() -> dict[str, str]:
    """For a process of its own: it finds the toys, and writes no coverage to its full disk."""
    root = Path(__file__).resolve().parents[2]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return {**kept, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_at_the_same_lines(
    kills: int, cli: Bench, toy: tuple[Path, ...], tmp_path: Path
) -> None:
    photos = 100
    command = ("bench", "run", benchmark(tmp_path / "many", photos), "--locator", "retrieval", *toy)
    cli(*command, "--out", "whole")
    chance = random.Random(kills)
    predictions = Path("R/predictions.jsonl")
    whole = Path("whole/predictions.jsonl").stat().st_size
    for _ in range(kills):
        size = predictions.stat().st_size if predictions.exists() else 0
        # From one byte on, to where the process halts by itself.
        enough = size + chance.randint(1, whole // (2 * kills))

        def has_grown(enough: int = enough) -> bool:
            return predictions.exists() and predictions.stat().st_size >= enough

        kill_when(
            has_grown,
            [sys.executable, "-m", "img2loc", *command, "--out", Path("R").absolute()],
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HALT_AFTER": str(photos // kills - 1)},
        )
    done = len(Run.open(Path("R")).predictions)
    assert kills <= done < photos
    assert cli(*command, "--out", "R")[0] == 0
    assert lines(Path("R")) == lines(Path("whole"))


def test_replies_are_kept_and_a_run_can_be_replayed(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    command = ("bench", "run", truth, "--locator", "img2loc", "--limit", "3", "--yes", *toy)
    cli(*command, "--out", "R")
    assert len(chat.requests) == 3
    cli(*command, "--out", "S")
    assert len(chat.requests) == 3
    cli(*command, "--out", "T", "--no-cache")
    assert len(chat.requests) == 6
    config = toy[1]
    recorded = Path("R/predictions.jsonl").absolute()
    config.write_text(f'{config.read_text()}[lmm.again]\nkind = "replay"\nrun = "{recorded}"\n')
    code, err = cli(
        *command, "--lmm", "again", "--out", "U", "--max-cost", "0"
    )  # Nothing is paid for what was recorded.
    assert code == 0, err
    assert len(chat.requests) == 6
    assert lines(Path("U")) == lines(Path("T")) == lines(Path("R"))
    assert [line["replies"][0]["text"] for line in lines(Path("S"))] == [
        line["replies"][0]["text"] for line in lines(Path("R"))
    ]


def test_repeats_have_replies_of_their_own_and_resume_for_nothing(
    cli: Bench, toy: tuple[Path, ...], truth: Path, chat: ChatServer
) -> None:
    command = ("bench", "run", truth, "--locator", "img2loc", "--limit", "3", "--yes", *toy)
    for asked, repeat in ((3, 1), (6, 2), (9, 3), (9, 2), (9, 1)):
        code, err = cli(*command, "--repeat", repeat)
        assert code == 0, err
        assert len(chat.requests) == asked
    names = sorted(path.name for path in Path("runs").iterdir())
    assert len(names) == 3
    assert [name.rpartition("-")[0].endswith("repeat-2") for name in names].count(True) == 1
    shutil.rmtree("runs")  # Interrupted before the first line was written: the cache has it all.
    cli(*command, "--repeat", 2)
    assert len(chat.requests) == 9
    (again,) = Path("runs").iterdir()
    assert json.loads((again / "run.json").read_text())["repeat"] == 1
    code, err = cli(*command, "--repeat", 3, "--out", again)
    assert code == 1
    assert "repeat is 1 there and 2 now" in err


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is no run: it has no run\.json"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 99}')
    (tmp_path / "truth.csv").write_text("id,lat,lon,author\n")
    with pytest.raises(RunError, match="not of format 1"):
        Run.open(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 1}')
    (tmp_path / "truth.csv").write_text("id,lat,lon,author\na,99,0,\n")
    with pytest.raises(RunError, match=r"truth\.csv is damaged"):
        Run.open(tmp_path)


def test_a_reply_without_a_price_has_none() -> None:
    truth, photo = Truth("a", Location(1, 2)), Photo(Path("a.jpg"))

    def cost(*replies: Reply) -> object:
        return prediction_record(truth, Guess(photo, "unparsed", replies=replies), 1.0)["cost_usd"]

    paid, unpriced = Usage(10, 5, 0.25), Usage(10, 5)
    assert cost() == 0
    assert cost(Reply("", "m", "answered", paid), Reply("", "m", "answered", paid)) == 0.5
    assert cost(Reply("", "m", "answered", paid), Reply("", "m", "answered", unpriced)) is None
    assert cost(Reply("", "m", "answered")) is None
    assert cost(Reply("", "m", "failed"), Reply("", "m", "answered", paid)) == 0.25


def test_a_reply_without_coordinates_is_asked_for_once_more_and_counted(
    cli: Bench, toy: tuple[Path, ...], truth: Path
) -> None:
    replies = 'replies = ["What a beach!", "1.5, 2.5"]'
    toy[1].write_text(toy[1].read_text().replace('replies = ["1.5, 2.5"]', replies))
    asked = ["bench", "run", truth, "--locator", "zeroshot", "--lmm", "told", *toy[:2]]
    code, err = cli(*asked, "--out", "R")
    assert code == 0, err
    assert "9 of the answers came on a second try (repair)." in err
    assert all(line["repairs"] == 1 and len(line["replies"]) == 2 for line in lines(Path("R")))
    assert json.loads(Path("R/run.json").read_text())["config"]["locator"]["repair"] == 1
    # The run is replayed from its predictions, second replies and all.
    replay = '[lmm.replay]\nrun = "R/predictions.jsonl"\n[locator.once]\nkind = "zeroshot"\n'
    again = toy[1].with_name("again.toml")
    again.write_text(f'{replay}lmm = "told"\nrepair = 0\n[lmm.told]\nkind = "scripted"\n{replies}')
    replay_path = Path("R/predictions.jsonl").resolve()
    again.write_text(again.read_text().replace("R/predictions.jsonl", str(replay_path)))
    run = ["bench", "run", truth, "--config", again]
    code, err = cli(*run, "--locator", "zeroshot", "--lmm", "replay", "--out", "S")
    assert code == 0, err
    assert [line["lat"] for line in lines(Path("S"))] == [1.5] * 9
    code, err = cli(*run, "--locator", "once", "--out", "T")  # A table of its own has none.
    assert [line["repairs"] for line in lines(Path("T"))] == [0] * 9
