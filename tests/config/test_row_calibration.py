"""A gallery's own rows: who is left out, what is resumed, what is refused, when it is used."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import img2loc
from img2loc.config import row_calibration
from img2loc.config.config import Config
from img2loc.config.row_calibration import calibrate_if_cheap, calibrate_rows
from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.types import Item, Location, Photo
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.own_rows import OwnRows
from tests.conftest import SHARED, Cli, kill_when
from tests.gallery.test_gallery import Batches, unit

LITE0 = {"name": "lite0/1280d-224px@d2c40adac1b7", "alias": "lite0", "table": {"kind": "lite0"}}


def made(folder: Path, rows: int = 240, of: str = "photos", **columns: Any) -> Gallery:
    """Places with views that look alike, three by each of their photographers."""
    random = np.random.default_rng(0)
    places = random.uniform((-60, -180), (60, 180), (rows // 6, 2))
    looks = random.normal(size=(rows // 6, 1280))
    vectors = unit(np.repeat(looks, 6, axis=0) + random.normal(size=(rows, 1280)))
    items = [
        Item(
            f"walk{row // 3}/{row}.jpg" if columns.get("folders", True) else f"{row}.jpg",
            Location(*map(float, places[row // 6])),
            author=f"author{row // 3}" if columns.get("authors", True) else "",
        )
        for row in range(rows)
    ]
    return Gallery.build(
        folder, Batches(vectors, items, 100), encoder=LITE0, rows=rows, about={"of": of}
    )


def test_who_is_left_out(tmp_path: Path) -> None:
    gallery = made(tmp_path / "g")
    own = OwnRows(gallery, [0, 4, 7])
    assert own(Photo(Path("4"))).tolist() == [3, 4, 5]
    own.add(Photo(Path("4")), np.array([100, 3]))
    assert own(Photo(Path("4"))).tolist() == [3, 4, 5, 100]
    assert own.clusters([0, 1, 4])[1] == "photographers"
    folders = OwnRows(made(tmp_path / "f", authors=False), [4])
    assert folders(Photo(Path("4"))).tolist() == [3, 4, 5]
    assert folders.clusters([3, 4])[1] == "folders"
    plain = OwnRows(made(tmp_path / "p", authors=False, folders=False), [4])
    assert plain(Photo(Path("4"))).tolist() == [4]
    codes, counted = plain.clusters([0, 5, 6])
    assert (codes.tolist(), counted) == ([0, 0, 1], "places")


def test_copies_are_left_out_however_they_are_called(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    vectors = unit(random.normal(size=(120, 1280)))
    vectors[1:81] = vectors[0]
    items = [Item(f"{row}.jpg", Location(0, row)) for row in range(120)]
    gallery = Gallery.build(tmp_path, Batches(vectors, items, 50), encoder=LITE0, rows=120)
    own = OwnRows(gallery, [5, 100])
    assert own(Photo(Path("5"))).tolist() == list(range(81))
    assert own(Photo(Path("100"))).tolist() == [100]


def test_the_vectors_are_those_of_the_rows(tmp_path: Path) -> None:
    gallery = made(tmp_path / "g")
    rows = [200, 3, 117]
    own = OwnRows(gallery, rows)
    stored = np.concatenate(list(gallery.index.vectors()))
    for vector, row in zip(own.encode(own.photos(rows)), rows, strict=True):
        assert np.allclose(np.asarray(vector), stored[row])


def test_a_gallery_keeps_its_calibration_and_ask_uses_it(tmp_path: Path) -> None:
    gallery = made(tmp_path / "g")
    found = calibrate_rows(Config.load(), str(tmp_path / "g"), shares=[0.75])
    assert (found.photos, found.clusters, found.counted) == (240, 80, "photographers")
    assert found.shares == (0.5, 0.68, 0.75, 0.9)
    assert not (tmp_path / "g" / "calibration.jsonl").exists()
    locator = img2loc.load("retrieval", gallery=tmp_path / "g")
    photo = SHARED / "landmarks" / "photos"
    if photo.exists():
        (guess,) = locator.locate([next(photo.glob("*.jpg"))])
        assert guess.radius_share == 0.68
        assert guess.radius_km is not None
    # Other settings are another locator: what its radius would be is not known.
    other = img2loc.load("retrieval", gallery=tmp_path / "g", k=3)
    assert type(other).__name__ == "Retrieval"
    # The gallery goes, and so does what was measured on it.
    made(tmp_path / "g", 300)
    assert not (tmp_path / "g" / "calibration.json").exists()
    assert len(gallery) == 240


def test_another_gallerys_calibration_is_refused(tmp_path: Path, run: Cli) -> None:
    for name, rows in (("a", 240), ("b", 300)):
        made(tmp_path / name, rows)
    calibrate_rows(Config.load(), str(tmp_path / "a"))
    file = tmp_path / "a" / "calibration.json"
    (tmp_path / "b" / "calibration.json").write_bytes(file.read_bytes())
    with pytest.raises(ConfigError, match="is of another gallery or encoder: 240 rows of the gall"):
        img2loc.load("retrieval", gallery=tmp_path / "b")
    code, _, err = run("ask", "x.jpg", "--gallery", tmp_path / "b", "--locator", "retrieval")
    assert code == 1
    assert "Make it again: img2loc index calibrate" in err
    # By name, in a locator's table.
    settings = tmp_path / "c.toml"
    settings.write_text(f'[locator.retrieval]\ncalibration = "{file}"\n')
    assert img2loc.load("retrieval", gallery=tmp_path / "a", config=settings)
    (tmp_path / "b" / "calibration.json").unlink()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"gallery": tmp_path / "b"}, "gallery"),
        ({"gallery": tmp_path / "a", "k": 2}, "locator"),
    ]
    for options, what in cases:
        with pytest.raises(ConfigError, match=f"is of another {what}"):
            img2loc.load("retrieval", config=settings, **options)
    settings.write_text("[locator.retrieval]\ncalibration = 3\n")
    with pytest.raises(ConfigError, match="calibration is no text"):
        img2loc.load("retrieval", gallery=tmp_path / "a", config=settings)


def test_killed_and_run_again_it_ends_the_same(tmp_path: Path) -> None:
    made(tmp_path / "whole")
    calibrate_rows(Config.load(), str(tmp_path / "whole"))
    made(tmp_path / "g")
    command = [sys.executable, "-m", "img2loc", "index", "calibrate", str(tmp_path / "g")]
    done = tmp_path / "g" / "calibration.jsonl"
    kill_when(
        lambda: done.exists() and done.read_text().count("\n") > 20,
        command,
        stderr=subprocess.DEVNULL,
    )
    if done.exists():  # Else it was done before it could be killed.
        with done.open("a") as file:
            file.write('{"row": 1, "err')  # A torn line.
    subprocess.run(command, check=True, capture_output=True)
    first, second = (
        json.loads((tmp_path / name / "calibration.json").read_text()) for name in ("whole", "g")
    )
    assert first["conformal"] == second["conformal"]
    assert first["measured_on"].replace("whole", "g") == second["measured_on"]


def test_what_is_done_of_another_calibration_is_not_used(tmp_path: Path) -> None:
    made(tmp_path / "g")
    (tmp_path / "g" / "calibration.jsonl").write_text('{"of": "other"}\n{"row": 0}\n')
    assert calibrate_rows(Config.load(), str(tmp_path / "g")).photos == 240


def test_too_few_rows_promise_nothing(tmp_path: Path, run: Cli) -> None:
    made(tmp_path / "g", 96)
    code, _, err = run("index", "calibrate", tmp_path / "g")
    assert code == 1
    assert "Nothing can be promised: the gallery" in err
    assert "Traceback" not in err
    # A hundred rows, all by one photographer: nobody is left to answer.
    items = [Item(f"{row}.jpg", Location(0, row), author="me") for row in range(120)]
    vectors = unit(np.random.default_rng(0).normal(size=(120, 1280)))
    Gallery.build(tmp_path / "one", Batches(vectors, items, 50), encoder=LITE0, rows=120)
    with pytest.raises(ConfigError, match="has 0 answers to photos"):
        calibrate_rows(Config.load(), str(tmp_path / "one"))


def test_what_cannot_be_asked_so_is_refused(tmp_path: Path) -> None:
    made(tmp_path / "points", of="points")
    with pytest.raises(GalleryError, match="is of points, which are no photos to ask about"):
        calibrate_rows(Config.load(), str(tmp_path / "points"))
    made(tmp_path / "g")
    with pytest.raises(ConfigError, match="needs the photos themselves"):
        calibrate_rows(Config.load(), str(tmp_path / "g"), "img2loc")


def test_a_build_calibrates_only_where_that_is_cheap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = made(tmp_path / "g")
    assert calibrate_if_cheap(Config.load(), gallery, build_seconds=0.001) is None
    assert not (tmp_path / "g" / "calibration.json").exists()
    assert calibrate_if_cheap(Config.load(), gallery, build_seconds=1e6) is not None
    assert (tmp_path / "g" / "calibration.json").exists()
    monkeypatch.setattr(row_calibration, "calibrate_rows", None)
    assert calibrate_if_cheap(Config.load(), gallery, build_seconds=1e6) is None  # It has one.
    assert calibrate_if_cheap(Config.load(), made(tmp_path / "f", 60), build_seconds=1e6) is None
