"""`bench ablate` with LMMs whose skill is known: the table says what they do, and no more."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2loc.bench.runs.ablate import CachingEncoder
from img2loc.bench.runs.run_folder import Run
from img2loc.config import factory
from img2loc.encoders.lite0 import Lite0
from tests.conftest import Cli, picture

Table = dict[str, Any]
Ablate = Callable[..., Table]
PHOTOS = 60
CONFIG = """
[encoder.toy]
kind = "tests.toys:PixelEncoder"
[lmm.copies]
kind = "tests.toys:CopyingLmm"
[lmm.random]
kind = "tests.toys:RandomLmm"
[lmm.knows-half]
kind = "tests.toys:HalfKnowingLmm"
truth = {truth}
"""


@pytest.fixture
def ablate(run: Cli, tmp_path: Path) -> Ablate:
    """Ablate with one of these LMMs over a table's photographs; the scores."""

    def call(truth: Path, gallery: Path | str, lmm: str, *words: object) -> Table:
        config = tmp_path / "oracles.toml"
        config.write_text(CONFIG.format(truth=json.dumps(str(truth))))
        code, out, err = run(
            *("bench", "ablate", truth, "--gallery", gallery, "--lmm", lmm, "--config", config),
            *("--out", tmp_path / lmm, "-k", 4, "--no-places", "--json", *words),
        )
        assert code == 0, err
        table: Table = json.loads(out)
        return table

    return call


@pytest.fixture
def synthetic(run: Cli, tmp_path: Path) -> tuple[Path, Path]:
    """Photographs of 20 people; the nearest in the gallery is of the same place for half of them.

    The nearest of the others is on the other side of the Earth.
    """
    places = np.random.default_rng(0).uniform((-60, -170), (60, 170), (PHOTOS, 2)).round(4)
    other_side = np.column_stack([-places[:, 0], places[:, 1] - 180 * np.sign(places[:, 1])])
    shown = np.where((np.arange(PHOTOS) % 4 < 2)[:, None], places, other_side)
    folder = tmp_path / "toy"
    folder.mkdir()
    for name, at, blend in (("query", places, 0.0), ("gallery", shown, 0.3)):
        rows = []
        for number, (lat, lon) in enumerate(at):
            image = Image.blend(picture(number, (24, 16)), picture(1000 + number, (24, 16)), blend)
            image.save(folder / f"{name}-{number}.jpg")
            rows.append(f"{name}-{number}.jpg,{lat},{lon},{name}-{number // 3}")
        (folder / f"{name}.csv").write_text("file,lat,lon,author\n" + "\n".join(rows) + "\n")
    config = tmp_path / "toy.toml"
    config.write_text('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    gallery = tmp_path / "G"
    code, _, err = run(
        *("index", "build", folder / "gallery.csv", "--out", gallery, "--encoder", "toy"),
        *("--config", config),
    )
    assert code == 0, err
    return folder / "query.csv", gallery


def at_25_km(table: Table) -> dict[str, dict[str, Any]]:
    """The pairs, as "first:second"."""
    return {f"{one['first']}:{one['second']}": one["thresholds"]["25"] for one in table["pairs"]}


def accuracy(table: Table) -> dict[str, float]:
    return {row["name"]: row["thresholds"]["25"]["accuracy"] for row in table["rows"]}


def copied(table: Table) -> dict[str, dict[str, float]]:
    return {row["name"]: row["copies"] for row in table["rows"] if row["copies"]}


def test_one_that_copies(ablate: Ablate, synthetic: tuple[Path, Path]) -> None:
    """It equals the nearest neighbour without an LMM, and the farthest change nothing."""
    table = ablate(*synthetic, "copies")
    right, pairs = accuracy(table), at_25_km(table)
    assert right["1-nn"] == right["nearest-4"] == right["nearest-farthest-4"] == 50
    assert right["none"] == 0
    assert table["intervals"]["clusters"] == 20
    for same in ("1-nn:nearest-4", "nearest-4:nearest-farthest-4"):
        assert (pairs[same]["difference"], pairs[same]["p_holm"]) == (0, 1)
    for better in ("none:nearest-4", "random-4:nearest-4"):
        assert pairs[better]["difference"] >= 45
        assert pairs[better]["p_holm"] < 0.01
    shares = copied(table)
    assert shares["nearest-4"]["first"] == shares["random-4"]["first"] == 100
    assert shares["farthest-4"]["farthest"] == 100
    assert shares["nearest-4"]["by_chance"] == 0


def test_one_that_answers_at_random(ablate: Ablate, synthetic: tuple[Path, Path]) -> None:
    """No row is better than another; each is worse than retrieval; repeats differ."""
    table = ablate(*synthetic, "random", "--repeats", 3)
    pairs = at_25_km(table)
    assert [row["runs"] for row in table["rows"]] == [3, 1, 3, 3, 3, 3]
    assert pairs["1-nn:nearest-4"]["difference"] <= -45
    assert pairs["1-nn:nearest-4"]["p_holm"] < 0.01
    for pair in table["pairs"]:
        if "1-nn" not in (pair["first"], pair["second"]):
            assert min(cell["p_holm"] for cell in pair["thresholds"].values()) > 0.05
    assert {one["nearest"] for one in copied(table).values()} == {0}
    assert max(row["thresholds"]["2500"]["sd"] or 0 for row in table["rows"]) > 0


def test_one_that_knows_half(ablate: Ablate, synthetic: tuple[Path, Path]) -> None:
    """The nearest help it with the other half, and the farthest do not."""
    table = ablate(*synthetic, "knows-half")
    right, pairs = accuracy(table), at_25_km(table)
    assert (right["none"], right["nearest-4"]) == (50, 75)
    assert pairs["none:nearest-4"]["difference"] == 25
    assert pairs["none:nearest-4"]["p_holm"] < 0.05
    assert pairs["1-nn:nearest-4"]["p_holm"] < 0.05
    assert pairs["nearest-4:nearest-farthest-4"]["p"] == 1
    assert 50 <= copied(table)["nearest-4"]["first"] <= 80


def test_pairs_by_name_run_no_other_rows(
    run: Cli, synthetic: tuple[Path, Path], tmp_path: Path
) -> None:
    config = tmp_path / "oracles.toml"
    config.write_text(CONFIG.format(truth='"x"'))
    truth, gallery = synthetic
    words: list[object] = ["bench", "ablate", truth, "--gallery", gallery, "--lmm", "copies"]
    words += ["--limit", 9, "--config", config, "--out", "A", "-k", "2,4"]
    code, out, err = run(*words, "--compare", "nearest-2:nearest-4")
    assert code == 0, err
    assert sorted(path.name for path in Path("A").iterdir()) == ["nearest-2", "nearest-4"]
    assert "| nearest-2 → nearest-4 | 9 | +0.00" in out
    assert "No difference holds at 0.05 after the correction." in out
    code, _, err = run(*words, "--compare", "nearest-2:nearest-16")
    assert code == 2
    assert "no pair of two rows" in err
    assert "nearest-4" in err


def test_repeats_are_runs_of_their_own(
    ablate: Ablate, synthetic: tuple[Path, Path], tmp_path: Path
) -> None:
    table = ablate(
        *synthetic, "random", "--repeats", 2, "--limit", 6, "--compare", "none:nearest-4"
    )
    assert [row["runs"] for row in table["rows"]] == [2, 2]
    folders = [tmp_path / "random" / name for name in ("none", "none-repeat-2")]
    first, second = map(Run.open, folders)
    assert (first.about.get("repeat"), second.about["repeat"]) == (None, 1)
    answers = [[line["lat"] for line in one.predictions.values()] for one in (first, second)]
    assert not set(answers[0]) & set(answers[1])


def test_on_real_photographs(
    ablate: Ablate, landmarks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 photographs of eight wonders: the same three verdicts."""
    encoder = CachingEncoder(Lite0())  # The photographs are encoded once for all three.
    monkeypatch.setattr(factory, "encoder_of", lambda config, gallery: encoder)
    queries = landmarks / "queries.csv"
    table = ablate(queries, "starter", "copies")
    retrieval = accuracy(table)["1-nn"]
    assert retrieval >= 35
    assert accuracy(table)["nearest-4"] == retrieval
    assert at_25_km(table)["1-nn:nearest-4"]["p"] == 1
    assert at_25_km(table)["none:nearest-4"]["p_holm"] < 0.05
    assert copied(table)["nearest-4"]["first"] == 100
    table = ablate(queries, "starter", "random")
    assert at_25_km(table)["1-nn:nearest-4"]["p_holm"] < 0.05
    assert at_25_km(table)["none:nearest-4"]["p"] == 1
    assert copied(table)["nearest-4"]["nearest"] == 0
    table = ablate(queries, "starter", "knows-half")
    assert accuracy(table)["none"] == 50
    assert at_25_km(table)["none:nearest-4"]["difference"] > 0
    assert at_25_km(table)["nearest-4:nearest-farthest-4"]["p"] == 1
