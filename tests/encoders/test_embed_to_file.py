"""Embedding files: rows in the input's order, NaN for what has no vector, resumed after a kill."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.types import Embeddings, Location, Photo
from img2loc.encoders.embed_to_file import Inputs, embed
from tests.conftest import Cli, MakePhoto
from tests.toys import PixelEncoder


class Compass:
    """A toy location tower that can be made to stop; it counts what it embeds."""

    name, dim = "compass", 3

    def __init__(self, stop_after: int = 10**9) -> None:
        self.seen, self._stop_after = 0, stop_after

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        if self.seen + len(points) > self._stop_after:
            raise KeyboardInterrupt
        self.seen += len(points)
        return np.array([unit(at.lat, at.lon) for at in points], np.float32).reshape(-1, 3)


def unit(lat: float, lon: float) -> np.ndarray:
    at = np.array([1.0, lat / 90, lon / 180])
    return np.asarray(at / np.linalg.norm(at))


def points(path: Path, rows: int, bad: int = 7) -> np.ndarray:
    random = np.random.default_rng(0)
    at = np.stack([random.uniform(-90, 90, rows), random.uniform(-180, 180, rows)], 1)
    cells = [f"p{n},{lat},{lon}" if n != bad else f"p{n},91,0" for n, (lat, lon) in enumerate(at)]
    path.write_text("id,LAT,LON\n" + "\n".join(cells) + "\n")
    return at


def test_points_keep_their_rows_and_a_cut_off_run_goes_on(tmp_path: Path) -> None:
    at = points(tmp_path / "points.csv", 2000)
    out = tmp_path / "sub" / "x.npy"
    with pytest.raises(KeyboardInterrupt):
        embed(Inputs(tmp_path / "points.csv"), Compass(stop_after=1500), out)
    assert not out.exists()
    steps: list[int] = []
    again = Compass()
    skipped = embed(Inputs(tmp_path / "points.csv"), again, out, steps.append)
    assert 500 <= again.seen < 1100  # Only what was not there yet.
    assert steps == sorted(steps)
    assert steps[-1] == 2000
    assert [(row, identity) for row, identity, _ in skipped] == [(7, "p7")]
    assert "91" in skipped[0][2]
    found = np.load(out)
    assert (found.shape, found.dtype) == ((2000, 3), np.float32)
    expected = np.array([unit(lat, lon) for lat, lon in at], np.float32)
    expected[7] = np.nan
    np.testing.assert_array_equal(found, expected)
    idle = Compass()
    assert embed(Inputs(tmp_path / "points.csv"), idle, out) == skipped
    assert idle.seen == 0


@pytest.mark.parametrize("left", [b"", b"torn", None])
def test_a_torn_draft_is_begun_again(tmp_path: Path, left: bytes | None) -> None:
    points(tmp_path / "points.csv", 2000)
    with pytest.raises(KeyboardInterrupt):
        embed(Inputs(tmp_path / "points.csv"), Compass(stop_after=1500), tmp_path / "x.npy")
    draft = tmp_path / "x.npy.part"
    draft.unlink()
    if left is not None:
        draft.write_bytes(left)
    whole = Compass()
    embed(Inputs(tmp_path / "points.csv"), whole, tmp_path / "x.npy")
    assert whole.seen == 1999  # all but the row that is no point
    assert np.isnan(np.load(tmp_path / "x.npy")).all(axis=1).sum() == 1


class Broken(Compass):
    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        return np.full((len(points), 3), np.nan, np.float32)


def test_a_model_that_gives_nothing_is_told(tmp_path: Path) -> None:
    points(tmp_path / "points.csv", 5)
    skipped = embed(Inputs(tmp_path / "points.csv"), Broken(), tmp_path / "x.npy")
    assert [(row, reason) for row, _, reason in skipped] == [
        (row, "the model gives it no vector") for row in range(5)
    ]


def test_photos_of_a_csv_or_a_folder(tmp_path: Path, make_photo: MakePhoto) -> None:
    paths = [make_photo(f"photos/{n}.jpg", n) for n in range(5)]
    (tmp_path / "photos" / "3.jpg").write_bytes(b"torn")
    (tmp_path / "list.csv").write_text(
        "file\n" + "\n".join(f"photos/{path.name}" for path in reversed(paths)) + "\n"
    )
    encoder = PixelEncoder()
    skipped = embed(Inputs(tmp_path / "list.csv"), encoder, tmp_path / "a.npy")
    assert [row for row, _, _ in skipped] == [1]
    embed(Inputs(tmp_path / "photos"), encoder, tmp_path / "b.npy")
    listed, walked = np.load(tmp_path / "a.npy"), np.load(tmp_path / "b.npy")
    np.testing.assert_array_equal(listed[::-1], walked)
    (one,) = encoder.encode([Photo(paths[0])])
    np.testing.assert_array_equal(walked[0], one)
    assert np.isnan(walked[3]).all()
    embed(Inputs(paths[4]), encoder, tmp_path / "c.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), walked[4:])


def test_what_is_refused(tmp_path: Path, make_photo: MakePhoto) -> None:
    points(tmp_path / "points.csv", 20)
    inputs = Inputs(tmp_path / "points.csv")
    with pytest.raises(ConfigError, match="no location tower"):
        embed(inputs, PixelEncoder(), tmp_path / "x.npy")
    np.save(tmp_path / "mine.npy", np.zeros(3))
    with pytest.raises(SourceError, match=r"exists without mine.json, which says what it holds"):
        embed(inputs, Compass(), tmp_path / "mine.npy")
    assert np.load(tmp_path / "mine.npy").shape == (3,)
    embed(inputs, Compass(), tmp_path / "x.npy")
    points(tmp_path / "points.csv", 21)
    with pytest.raises(
        SourceError,
        match=r"rows is 20 there and 21 now; source is .* delete .*x\.npy and the \.json beside it",
    ):
        embed(Inputs(tmp_path / "points.csv"), Compass(), tmp_path / "x.npy")
    (tmp_path / "x.json").write_text("[]")
    with pytest.raises(SourceError, match=r"x\.json cannot be read"):
        embed(inputs, Compass(), tmp_path / "x.npy")
    with pytest.raises(SourceError, match="cannot be written"):
        embed(inputs, Compass(), tmp_path / "points.csv" / "x.npy")
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceError, match="no photographs"):
        Inputs(tmp_path / "none")
    with pytest.raises(SourceError, match="photographs, not points"):
        Inputs(make_photo(), of="points")


def test_the_command_line(run: Cli, tmp_path: Path, make_photo: MakePhoto) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    make_photo("photos/a.jpg", 1)
    (tmp_path / "photos" / "b.jpg").write_bytes(b"")
    code, out, err = run(
        "embed", tmp_path / "photos", "--encoder", "toy", "--out", "x.npy", "--config", config
    )
    assert (code, out) == (3, "")
    assert "2 rows of 108 by pixels/6" in err
    assert "0 bytes" in err
    assert json.loads(Path("x.json").read_text())["encoder"] == "pixels/6"
    assert (
        run("embed", tmp_path / "photos", "--encoder", "toy", "--out", "x.txt", "--config", config)[
            0
        ]
        == 1
    )
    code, _, err = run(
        "embed", tmp_path / "absent.csv", "--encoder", "toy", "--out", "y.npy", "--config", config
    )
    assert (code, "No such file" in err) == (1, True)
