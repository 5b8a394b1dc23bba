"""GeoCLIP's ablations: what each row takes away, one command, one table on the same photographs."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.data.csv_source import CsvSource
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip_towers import GeoClipParts, LocationTower, equal_earth
from img2loc.encoders.lite0 import Lite0
from img2loc.training.ablation import held_out, variants
from img2loc.training.geoclip import train
from img2loc.training.geoclip_settings import GeoClipTraining
from tests.conftest import Cli, MakePhoto

SMALL = ("--epochs", 1, "--set", "batch_size=4", "--set", "queue=8", "--encoder", "lite0")


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Location towers of a sixteenth of the width."""
    monkeypatch.setattr(geoclip_towers, "Capsule", partial(geoclip_towers.Capsule, width=64))


@pytest.fixture
def photos(tmp_path: Path, make_photo: MakePhoto) -> Path:
    """24 photographs by eight people, spread over the Earth."""
    places = np.random.default_rng(0).uniform((-60, -170), (60, 170), (24, 2)).tolist()
    rows = [
        (make_photo(f"p{n}.png", n).name, lat, lon, f"person{n // 3}")
        for n, (lat, lon) in enumerate(places)
    ]
    path = tmp_path / "photos.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "lat", "lon", "author"), *rows])
    return path


def test_each_row_takes_one_thing_away() -> None:
    settings = GeoClipTraining()
    rows = variants(settings, [0.1])
    assert list(rows) == [
        *("full", "no-projection", "no-fourier", "sigma-1", "sigma-16", "sigma-256"),
        *("no-finest", "no-queue", "data-0.1"),
    ]
    assert rows["full"] == settings
    changed = {
        name: [
            key for key in GeoClipTraining.__slots__ if getattr(row, key) != getattr(settings, key)
        ]
        for name, row in rows.items()
    }
    assert [len(keys) for keys in changed.values()] == [0] + 8 * [1]
    assert list(rows["no-finest"].sigma) == [1, 16]


def test_the_tower_without_its_parts() -> None:
    points = torch.tensor([[48.85, 2.35], [-33.86, 151.21]])
    plain = LocationTower([], "equirectangular")
    (capsule,) = plain.children()
    assert torch.equal(plain(points), capsule(points.flip(1) / 180))
    assert capsule.capsule[1].in_features == 2  # type: ignore[index, union-attr]
    projected = LocationTower([])
    projected.load_state_dict(plain.state_dict())
    assert torch.equal(projected(points), capsule(equal_earth(points)))


def test_what_is_left_out_is_kept_with_the_weights(tmp_path: Path) -> None:
    parts = GeoClipParts(4, [], "equirectangular")
    geoclip_towers.save(parts, tmp_path, {})
    loaded, about = geoclip_towers.load(str(tmp_path))
    assert loaded.location_encoder.projection == "equirectangular"
    assert loaded.location_encoder.sigmas == ()
    assert about["model_type"] == "geoclip-geolocation-ablation"  # No other package takes it.
    (tmp_path / "config.json").write_text(json.dumps({**about, "projection": "mercator"}))
    with pytest.raises(MissingWeights, match="projection is 'mercator', not one of equal-earth"):
        geoclip_towers.load(str(tmp_path))


@pytest.mark.usefixtures("narrow")
def test_one_command_ends_in_one_table(run: Cli, photos: Path, tmp_path: Path) -> None:
    words = ("train", "ablate", photos, "--out", tmp_path / "A", "--validation", 0.25, *SMALL)
    code, out, err = run(*words, "--fractions", "0.5", "--json")
    assert code == 0, err
    table = json.loads(out)
    rows = {row["name"]: row for row in table["rows"]}
    assert len(rows) == 9
    assert {row["n"] for row in rows.values()} == {6}
    assert [(pair["first"], pair["second"]) for pair in table["pairs"]] == [
        ("full", name) for name in rows if name != "full"
    ]
    assert table["intervals"]["photographers"] > 0
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "A").glob("*/training.pt")}
    assert len(stamps) == 9
    code, out, _ = run(*words, "--only", "no-queue")
    assert code == 0
    assert "| full → no-queue | 6 |" in out
    assert "no-fourier" not in out
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    code, _, err = run(*words, "--only", "no-clip")
    assert code == 2
    assert "no-clip" in err


@pytest.mark.usefixtures("narrow")
def test_all_rows_choose_among_the_same_coordinates(photos: Path, tmp_path: Path) -> None:
    """Also one that is trained on half of the photographs; and it is the training's own measure."""
    lite0, source = Lite0(), CsvSource(photos)
    settings = GeoClipTraining(
        encoder="lite0", epochs=1, batch_size=4, queue=8, validation=0.25, lr=1e-2
    )
    found = held_out(settings, lite0, source)
    history = train(settings, lite0, source, tmp_path / "full")
    places = found.places(tmp_path / "full")
    assert places.shape == found.points.shape == (6, 2)
    errors = np.abs(places - found.points).max(axis=1)
    assert history[-1]["validation"]["1"] == np.mean(errors < 0.005)
    for row in (variants(settings, [0.5])["data-0.5"],):
        train(row, lite0, source, tmp_path / "half")
        assert len(held_out(row, lite0, source).points) == 6
    assert found.places(tmp_path / "half").shape == (6, 2)
    with pytest.raises(ConfigError, match="Hold some out: --validation"):
        held_out(GeoClipTraining(encoder="lite0"), lite0, source)
