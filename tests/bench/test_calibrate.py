"""`bench calibrate` and `bench score --calibration`: runs, tables of predictions, real replies."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2loc import parse_location
from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.calibration import calibrated, calibration_of
from img2loc.bench.scores.compare import take
from img2loc.bench.scores.external import match
from img2loc.bench.scores.replies import lmm_errors_km
from img2loc.core.geo import degrees
from img2loc.core.types import Location
from img2loc.locators.calibration import Calibration
from img2loc.locators.spread import spread_km
from tests.bench_toys import benchmark
from tests.conftest import SHARED, Cli, configure

REPLIES = SHARED / "replies"
MODELS = ("gpt-5", "qwen3-vl-235b", "qwen3-vl-30b")


def table(folder: Path, n: int = 300) -> tuple[Path, Path]:
    """Predictions whose error is about their spread, and their truth."""
    random = np.random.default_rng(0)
    spread = np.exp(random.normal(3, 1, n))
    lat = random.uniform(-60, 60, n)
    off = spread * random.normal(size=n) / 111.2
    with (folder / "p.csv").open("w") as p, (folder / "t.csv").open("w") as t:
        p.write("id,lat,lon,spread_km\n")
        t.write("id,lat,lon,author\n")
        for row in range(n):
            p.write(f"{row},{lat[row] + off[row]},10,{spread[row]}\n")
            t.write(f"{row},{lat[row]},10,a{row // 2}\n")
    return folder / "p.csv", folder / "t.csv"


def test_predictions_are_calibrated_and_scored(run: Cli, tmp_path: Path) -> None:
    predictions, truth = table(tmp_path)
    out = tmp_path / "c.json"
    words = ["bench", "calibrate", predictions, "--truth", truth, "--out", out, "--share", "0.8"]
    code, _, err = run(*words)
    assert code == 0, err
    assert "300 answers, 150 photographers" in err
    code, shown, err = run(
        *("bench", "score", "--predictions", predictions, "--truth", truth),
        *("--calibration", out, "--json"),
    )
    assert code == 0, err
    found = json.loads(shown)["calibrated"]
    assert list(found) == ["0.5", "0.68", "0.8", "0.9"]
    for share, held in found.items():
        assert held["n"] == 300
        assert held["coverage"] == pytest.approx(100 * float(share), abs=6)
        assert held["interval"][0] <= held["coverage"] <= held["interval"][1]
        assert sum(group["n"] for group in held["groups"]) == 300
        assert sum(one["n"] for one in held["continents"].values()) == 300
    assert found["0.5"]["median_radius_km"] < found["0.9"]["median_radius_km"]
    code, text, _ = run(
        *("bench", "score", "--predictions", predictions, "--truth", truth, "--calibration", out)
    )
    assert code == 0
    assert "Calibrated radius: per cent of answers whose radius holds the truth:" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_is_calibrated_and_its_locator_uses_that(run: Cli, tmp_path: Path) -> None:
    truth = benchmark(tmp_path / "photos", 120)
    setup = '[lmm.scripted]\nreplies = ["48.8584, 2.2945", "51.5, -0.12", "40.7, -74.0"]\n'
    configure(setup)
    words = ["bench", "run", truth, "--locator", "zeroshot", "--lmm", "scripted"]
    code, _, err = run(*words, "--out", "R")
    assert code == 0, err
    code, _, err = run("bench", "calibrate", "R", "--out", "c.json")
    assert code == 0, err
    assert "120 answers, 41 photographers; score: constant" in err
    code, out, err = run("bench", "score", "R", "--calibration", "c.json", "--json")
    assert code == 0, err
    assert json.loads(out)["calibrated"]["0.9"]["n"] == 120
    configure(setup + f'[locator.zeroshot]\ncalibration = "{Path("c.json").resolve()}"\n')
    photo = next((tmp_path / "photos").glob("*.jpg"))
    code, out, err = run("ask", photo, "--locator", "zeroshot", "--lmm", "scripted", "--json")
    assert code == 0, err
    guess = json.loads(out)
    assert (guess["radius_share"], guess["spread_km"]) == (0.68, None)
    assert guess["radius_km"] > 1000
    code, out, _ = run(
        *("ask", photo, "--locator", "zeroshot", "--lmm", "scripted", "--json"),
        *("--max-radius", "100"),
    )
    assert code == 3
    unsure = json.loads(out)
    assert (unsure["status"], unsure["lat"]) == ("unsure", None)
    assert unsure["best"] == {"lat": 48.8584, "lon": 2.2945}
    # Another LMM, another prompt: refused, with a sentence.
    configure(setup.replace("40.7", "40.8") + '[locator.zeroshot]\ncalibration = "c.json"\n')
    settings = Path("other.toml")
    settings.write_text(
        setup.replace("40.7", "40.8")
        + f'[locator.zeroshot]\ncalibration = "{Path("c.json").resolve()}"\n'
    )
    words = ["ask", photo, "--locator", "zeroshot", "--lmm", "scripted", "--config", settings]
    code, _, err = run(*words)
    assert code == 1
    assert "is of another lmm" in err
    # A run with the calibration has radii, and says what it had.
    settings.write_text(setup + f'[locator.zeroshot]\ncalibration = "{Path("c.json").resolve()}"\n')
    words = ["bench", "run", truth, "--locator", "zeroshot", "--lmm", "scripted"]
    code, _, err = run(*words, "--out", "S", "--config", settings)
    assert code == 0, err
    lines = Path("S", "predictions.jsonl").read_text().splitlines(keepends=True)
    Path("S", "predictions.jsonl").write_text("".join(lines[:100]))
    code, _, err = run(*words, "--out", "S", "--config", settings)  # It resumes.
    assert code == 0, err
    code, out, _ = run("bench", "score", "S", "--json")
    scores = json.loads(out)
    assert scores["calibration"]["of"] == "radius"
    assert scores["calibration"]["nominal"] == 68
    assert scores["calibrated"]["0.68"]["coverage"] == scores["calibration"]["inside"]
    code, _, err = run("bench", "report", "S", "--out", "r.html")
    assert code == 0, err
    assert "The radius that was promised" in Path("r.html").read_text()


def test_what_is_lacking_is_said(run: Cli, tmp_path: Path) -> None:
    predictions, truth = table(tmp_path, 60)
    code, _, err = run("bench", "calibrate", predictions, "--truth", truth, "--out", "c.json")
    assert code == 1
    assert "Nothing can be promised: p.csv has 60 answers" in err
    code, _, err = run("bench", "calibrate", predictions, "--out", "c.json")
    assert code == 2
    code, _, err = run("bench", "calibrate", "nowhere", "--out", "c.json")
    assert code in (1, 2)
    assert "Traceback" not in err
    code, _, err = run(
        *("bench", "score", "--predictions", predictions, "--truth", truth),
        *("--calibration", truth),
    )
    assert code == 1
    assert "is no calibration" in err


def test_several_lmms_are_told_apart(run: Cli, tmp_path: Path) -> None:
    truth = benchmark(tmp_path / "photos", 104)
    configure(
        '[lmm.far]\nkind = "scripted"\nreplies = ["-10, -60"]\n'
        '[lmm.near]\nkind = "scripted"\nreplies = ["48.8584, 2.2945"]\n'
        '[locator.both]\nkind = "ensemble"\nlmms = ["far", "near"]\ncounts = [0]\nretrieved = 0\n'
        'gallery = "starter"\nprompt = "nearest-farthest"\n'
    )
    code, _, err = run("bench", "run", truth, "--locator", "both", "--out", "R")
    assert code == 0, err
    opened = Run.open(Path("R"))
    assert opened.about["lmm"] == "far+near"
    for line in opened.predictions.values():
        assert (line["lat"], line["lon"]) == (-10, -60)  # The first answers; they are not averaged.
        assert line["spread_km"] > 5000
        assert "0 of 1 replies of other LMMs are within 25 km" in line["detail"]
    errors = lmm_errors_km(opened)
    assert errors["near"] < errors["far"]
    code, _, err = run("bench", "calibrate", "R", "--out", "c.json")
    assert code == 0, err
    assert "near is the better LMM here" in " ".join(err.split())
    assert Calibration.load(Path("c.json")).lmm_errors_km == errors


@pytest.fixture(scope="module")
def geobench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-5's answers to GeoBench with the spread of three models' answers around them."""
    if not REPLIES.exists():
        pytest.skip("needs ../shared/data/replies")
    places: list[dict[str, Location | None]] = []
    for model in MODELS:
        lines = (REPLIES / f"geobench-{model}.jsonl").read_text(encoding="utf-8").splitlines()
        rows: list[Any] = [json.loads(line) for line in lines]
        places.append({str(row["id"]): parse_location(row["reply"]) for row in rows})
    file = tmp_path_factory.mktemp("geobench") / "p.csv"
    with file.open("w", newline="") as stream:
        lines_out = csv.writer(stream)
        lines_out.writerow(("id", "lat", "lon", "spread_km"))
        for name, answer in places[0].items():
            if answer is None:
                continue
            candidates = [at for of in places if (at := of.get(name)) is not None]
            spread = spread_km(answer, degrees(candidates), np.ones(len(candidates)))
            lines_out.writerow((name, answer.lat, answer.lon, spread))
    return file


def test_half_of_real_replies_keep_the_promise_for_the_other_half(geobench: Path) -> None:
    """Over 50 random halves: as promised on average, never far below, and a useful radius."""
    outcomes = match(geobench, REPLIES / "geobench-truth.csv").outcomes
    errors = outcomes.errors_km()
    places = np.full(len(outcomes), "")
    covered, medians = [], []
    for seed in range(50):
        order = np.random.default_rng(seed).permutation(len(outcomes))
        half = len(order) // 2
        known = calibration_of(take(outcomes, order[:half]), [], "geobench")
        rest = order[half:]
        found = calibrated(take(outcomes, rest), errors[rest], known, places[rest])["0.9"]
        covered.append(found["coverage"])
        medians.append(found["median_radius_km"])
    assert 88 <= np.mean(covered) <= 92
    assert min(covered) >= 84
    assert np.median(medians) <= 150


def test_a_run_goes_on_whatever_was_calibrated_meanwhile(run: Cli, tmp_path: Path) -> None:
    truth = benchmark(tmp_path / "photos", 30)
    for name, spent in (("a", 12), ("b", 30)):
        code, _, err = run(
            *("bench", "run", truth, "--locator", "retrieval", "--gallery", "starter"),
            *("--limit", spent, "--out", name),
        )
        assert code == 0, err
    about = json.loads(Path("b", "run.json").read_text())
    assert about["calibration"]["measured_on"] == "123 rows of the gallery starter"
    lines = Path("b", "predictions.jsonl").read_text().splitlines(keepends=True)
    Path("b", "predictions.jsonl").write_text("".join(lines[:20]))
    # As version 0.1.0 began it, which knew neither a calibration nor a gallery's checksum.
    del about["calibration"], about["config"]["gallery"]["sha256"]
    Path("b", "run.json").write_text(json.dumps(about))
    code, _, err = run(
        *("bench", "run", truth, "--locator", "retrieval", "--gallery", "starter"),
        *("--limit", 30, "--out", "b"),
    )
    assert code == 0, err
    assert len(Run.open(Path("b")).predictions) == 30
    code, out, _ = run("bench", "score", "b", "--json")
    assert json.loads(out)["calibration"]["of"] == "spread"
    code, out, _ = run("bench", "score", "a", "--json")
    assert json.loads(out)["calibration"]["of"] == "radius"
    # Of few photos all or none may be within.
    for photos in (1, 2, 4):
        few = f"few{photos}"
        words = ("--gallery", "starter", "--limit", photos, "--out", few)
        run("bench", "run", truth, "--locator", "retrieval", *words)
        code, _, err = run("bench", "report", few, "--out", f"{few}.html")
        assert code == 0, err


def test_the_order_of_lmms_is_part_of_what_was_calibrated(run: Cli, tmp_path: Path) -> None:
    truth = benchmark(tmp_path / "photos", 104)
    tables = (
        '[lmm.far]\nkind = "scripted"\nreplies = ["-10, -60"]\n'
        '[lmm.near]\nkind = "scripted"\nreplies = ["48.8584, 2.2945"]\n'
        '[locator.both]\nkind = "ensemble"\nlmms = ["far", "near"]\ncounts = [0]\nretrieved = 0\n'
        'gallery = "starter"\nprompt = "nearest-farthest"\n'
    )
    configure(tables)
    for words in (
        ("bench", "run", truth, "--locator", "both", "--out", "R"),
        ("bench", "calibrate", "R", "--out", "c.json"),
    ):
        code, _, err = run(*words)
        assert code == 0, err
    swapped = tables.replace('["far", "near"]', '["near", "far"]')
    configure(f'{swapped}calibration = "{Path("c.json").resolve()}"\n')
    photo = next((tmp_path / "photos").glob("*.jpg"))
    code, _, err = run("ask", photo, "--locator", "both")
    assert code == 1
    assert "is of another lmm" in err


def test_another_truth_file_still_begins_another_run(run: Cli, tmp_path: Path) -> None:
    """A gallery's checksum may be missing in a run that goes on; a truth's may not differ."""
    truth = benchmark(tmp_path / "photos", 12)
    words = ("--locator", "retrieval", "--gallery", "starter", "--out", "R")
    code, _, err = run("bench", "run", truth, *words)
    assert code == 0, err
    truth.write_text(truth.read_text() + "\n")  # The same photos, in another file.
    code, _, err = run("bench", "run", truth, *words)
    assert code == 1
    assert "truth.sha256" in err


def test_a_limit_without_a_calibration_says_how_to_get_one(run: Cli, tmp_path: Path) -> None:
    configure('[lmm.scripted]\nreplies = ["1, 2"]\n')
    code, _, err = run(
        *("ask", "x.jpg", "--locator", "zeroshot", "--lmm", "scripted", "--max-radius", "5")
    )
    assert code == 1
    assert "bench calibrate RUN" in err
    assert "index calibrate" not in err  # It would refuse a locator that asks an LMM.
    code, _, err = run("ask", "x.jpg", "--locator", "retrieval-mode", "--max-radius", "5")
    assert code == 1
    assert "img2loc index calibrate" in err
    assert "--locator retrieval-mode" in err
