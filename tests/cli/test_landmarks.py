"""The main job on real photographs, where they are at hand."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from img2loc.core.geo import COUNTRY_KM, distance_km
from img2loc.core.types import Location
from tests.conftest import Cli, kill_when

COMMAND = [sys.executable, "-m", "img2loc"]


def ask(run: Cli, gallery: Path, folder: Path, name: str) -> list[tuple[float, float | None]]:
    """(error in km, radius in km) of every photograph of a list."""
    with (folder / name).open(newline="") as file:
        truth = {
            str(folder / row["file"]): Location(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(file)
        }
    code, out, err = run("ask", *truth, "--json", "--gallery", gallery, "--locator", "retrieval")
    assert code == 0, err
    guesses = [json.loads(line) for line in out.splitlines()]
    assert [guess["photo"] for guess in guesses] == list(truth)
    return [
        (
            distance_km(Location(guess["lat"], guess["lon"]), truth[guess["photo"]]),
            guess["radius_km"],
        )
        for guess in guesses
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).resolve().parents[3] / "shared" / "data" / "landmarks" / "gallery.csv"
    if not source.exists():
        pytest.skip(f"the real photographs are not at {source}")
    folder = tmp_path_factory.mktemp("landmarks") / "G"
    subprocess.run(
        [*COMMAND, "index", "build", source, "--out", folder, "--encoder", "lite0"],
        check=True,
        capture_output=True,
    )
    return folder


def test_wonders_are_found_and_wrong_answers_are_unsure(
    run: Cli, built: Path, landmarks: Path
) -> None:
    """At most one in twenty is sure and wrong, also of photographs without a recognisable place."""
    code, _, err = run("index", "calibrate", built)
    assert code == 0, err
    queries = ask(run, built, landmarks, "queries.csv")
    assert len(queries) == 32
    assert sum(error <= 25 for error, _ in queries) / len(queries) >= 0.35
    for found in (queries, ask(run, built, landmarks, "no-scene.csv")):
        claimed = [error for error, radius in found if radius is not None and radius <= COUNTRY_KM]
        assert sum(error > COUNTRY_KM for error in claimed) / len(found) <= 0.05
        assert claimed


def test_killed_half_way_and_run_again(
    run: Cli, built: Path, landmarks: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "G"
    words = ["index", "build", landmarks / "gallery.csv", "--out", folder, "--encoder", "lite0"]
    kill_when(
        lambda: list(folder.glob("img_emb/*.npy")), [*COMMAND, *words], stderr=subprocess.DEVNULL
    )
    assert not (folder / "manifest.json").exists()
    assert run(*words)[0] == 0
    for name in ("gallery.faiss", "rows.arrow", "manifest.json", "skipped.csv"):
        assert (folder / name).read_bytes() == (built / name).read_bytes()


def test_a_folder_of_photos_taken_with_gps_becomes_a_gallery(
    run: Cli, landmarks: Path, tmp_path: Path
) -> None:
    """Real photographs, given back their positions as EXIF, then asked for."""
    from PIL import Image

    from tests.data.test_folder import gps_exif

    album = tmp_path / "album"
    album.mkdir()
    with (landmarks / "queries.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["label"] in ("petra", "colosseum")]
    for row in rows:
        exif = gps_exif(float(row["lat"]), float(row["lon"]), "N", "E")
        with Image.open(landmarks / row["file"]) as image:
            image.save(album / Path(row["file"]).name, exif=exif, quality=90)
    shutil.copy(landmarks / rows[0]["file"], album / "without-position.jpg")
    folder = tmp_path / "G"
    code, _, err = run("index", "build", album, "--out", folder)
    assert code == 0, err
    assert f"{len(rows)} photos" in err
    assert "1 × no GPS position in its EXIF" in err
    code, out, err = run("ask", landmarks / rows[0]["file"], "--gallery", folder, "--json")
    assert code == 0, err
    guess = json.loads(out)
    truth = Location(float(rows[0]["lat"]), float(rows[0]["lon"]))
    assert distance_km(Location(guess["lat"], guess["lon"]), truth) < 0.1
