"""Training GeoCLIP: noise, queue, negatives, real photographs, kills, and what is refused."""

import csv
import json
import math
import re
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from typer.testing import CliRunner

from img2loc.cli import app
from img2loc.config.config import Config
from img2loc.config.registry import resolve
from img2loc.core.errors import ConfigError, Img2LocError, SourceError
from img2loc.core.geo import EARTH_RADIUS_KM, distance_km, distances_km
from img2loc.core.types import Location
from img2loc.data.csv_source import CsvSource
from img2loc.data.source_from_path import open_source
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip import image_tower
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.transformers import TransformersClip
from img2loc.training.accuracy import Accuracy
from img2loc.training.augmentation import random_view
from img2loc.training.checkpoint import claimed
from img2loc.training.contrastive import Queue, contrast, not_negatives, same_place, shifted
from img2loc.training.features import extract
from img2loc.training.geoclip import train
from img2loc.training.geoclip_settings import GeoClipTraining
from img2loc.training.initialization import split
from tests.conftest import Cli, MakePhoto, configure, kill_when, picture
from tests.toys import PixelEncoder

SMALL: dict[str, Any] = {"lr": 3e-4, "batch_size": 64, "queue": 192}
"""For 174 photographs: the paper's values are for millions."""
EDGES = [
    (90.0, 0.0),
    (-90.0, 120.0),
    (0.0, 180.0),
    (45.0, -180.0),
    (89.9999, 77.0),
    (-12.0, 179.9999),
    (48.85, 2.35),
    (0.0, 0.0),
]


def metres(a: Any, b: Any) -> float:
    return 1000 * distance_km(Location(*map(float, a)), Location(*map(float, b)))


def some_points(count: int, seed: int = 0) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(
        np.stack(
            [np.degrees(np.arcsin(random.uniform(-1, 1, count))), random.uniform(-180, 180, count)],
            1,
        )
    )


@pytest.mark.parametrize("at", EDGES)
def test_noise_is_gaussian_in_metres_wherever_on_earth(at: tuple[float, float]) -> None:
    moved = shifted(
        torch.tensor([at] * 3000, dtype=torch.float64), 1000.0, torch.Generator().manual_seed(1)
    )
    away = [metres(at, point) for point in moved]  # Location refuses what is no point on Earth.
    assert kstest(away, "rayleigh", args=(0, 1000.0)).pvalue > 1e-3
    north = np.array([(float(lat) - at[0]) * 111_194.9266 for lat, _ in moved])
    if abs(at[0]) < 80:
        assert kstest(north, "norm", args=(0, 1000.0)).pvalue > 1e-3


def test_no_noise_leaves_points_where_they_are() -> None:
    points = some_points(200)
    assert torch.allclose(shifted(points, 0.0, torch.Generator().manual_seed(0)), points, atol=1e-9)


def test_what_lies_near_ones_own_place_is_no_negative() -> None:
    batch, queue = some_points(12), some_points(40, 1)
    batch[3] = batch[2]  # Two photographs of one place,
    batch[5] = batch[4] + torch.tensor([0.001, 0.0])  # two that are 111 m apart,
    batch[7] = batch[6] + torch.tensor([0.002, 0.0])  # and two that are 222 m apart.
    batch[0], queue[0] = torch.tensor([10.0, 180.0]), torch.tensor([10.0, -179.9995])
    queue[1], queue[2] = batch[2], batch[9]
    found = not_negatives(batch, queue, 150.0)
    everything = torch.cat([batch, queue]).tolist()
    expected = [
        [i != j and metres(a, b) < 150 for j, b in enumerate(everything)]
        for i, a in enumerate(batch.tolist())
    ]
    assert found.tolist() == expected
    # Two pairs in the batch, seen from both sides; in the queue, neighbours of rows 0, 2, 3 and 9.
    assert found.sum() == 8


def test_without_noise_exact_equals_are_no_negatives() -> None:
    points = torch.cat([torch.tensor(EDGES, dtype=torch.float64), some_points(2000)])
    near = points + torch.tensor([[0.0, 0.0]] * 8 + [[2e-5, 0.0]] * 2000)  # 2.2 m to the north.
    near = near.clamp(-90, 90)
    assert same_place(points, points, 0.0).diagonal().all()
    assert not same_place(points[8:], near[8:], 0.0).any()
    assert not_negatives(points[:1], torch.cat([points[:1], points[6:7]]), 0.0).tolist() == [
        [False, True, False]
    ]


def test_the_loss_is_the_softmax_over_what_is_left() -> None:
    random = np.random.default_rng(0)
    images, places = random.normal(size=(3, 8)), random.normal(size=(7, 8))
    excluded = np.zeros((3, 7), bool)
    excluded[0, [1, 5]] = excluded[2, 6] = True
    losses = []
    for row in range(3):
        cosines = [
            images[row] @ p / np.linalg.norm(images[row]) / np.linalg.norm(p) for p in places
        ]
        left = [
            math.exp(14.0 * c) for c, out in zip(cosines, excluded[row], strict=True) if not out
        ]
        losses.append(-math.log(math.exp(14.0 * cosines[row]) / sum(left)))
    found = contrast(
        torch.tensor(images), torch.tensor(places), torch.tensor(14.0), torch.tensor(excluded)
    )
    assert float(found) == pytest.approx(np.mean(losses))


def test_the_queue_keeps_the_latest_and_forgets_the_oldest() -> None:
    queue, pushed = Queue(10), some_points(33)
    for start in range(0, 33, 4):
        queue.push(pushed[start : start + 4])
        seen = min(33, start + 4)
        assert queue.points.tolist() == pushed[max(0, seen - 10) : seen].tolist()
    nothing = Queue(0)
    nothing.push(pushed)
    assert len(nothing.points) == 0


def test_shares_nest_and_never_meet_what_is_held_back() -> None:
    fifth, held = split([""] * 1000, 0.1, 0.2, seed=3)
    half, held_again = split([""] * 1000, 0.1, 0.5, seed=3)
    assert (len(fifth), len(half), len(held)) == (180, 450, 100)
    assert set(fifth) < set(half)
    assert not set(half) & set(held)
    assert held.tolist() == held_again.tolist() != split([""] * 1000, 0.1, 0.5, seed=4)[1].tolist()
    with pytest.raises(
        SourceError,
        match=r"Of 1 usable photographs, 1 are held out .* is 0: training needs 2 or more",
    ):
        split([""] * 1, 0.5, 1.0, 0)
    with pytest.raises(SourceError, match=r"a fraction of 0.01 of the others is 0: training needs"):
        split([""] * 23, 0.0, 0.01, 0)
    assert len(split([""] * 3, 0.3, 1.0, 0)[0]) == 2


def test_nobody_is_both_trained_on_and_held_out() -> None:
    """By photo, all photographers of the validation photos were in training too."""
    people = [f"p{row % 50}" for row in range(1000)]
    trained, held = split(people, 0.1, 1.0, seed=0)
    assert (len(trained), len(held)) == (900, 100)
    assert {people[row] for row in held}.isdisjoint(people[row] for row in trained)
    assert held.tolist() != split(people, 0.1, 1.0, seed=1)[1].tolist()


@pytest.mark.parametrize("seed", range(10))
def test_a_prolific_photographer_does_not_fill_the_held_out_share(seed: int) -> None:
    people = ["everywhere"] * 600 + ["", "rare"] * 20 + [f"p{row % 40}" for row in range(360)]
    trained, held = split(people, 0.1, 0.5, seed)
    assert len(held) == 100
    assert "everywhere" not in {people[row] for row in held}
    known = {people[row] for row in held} - {""}
    assert known.isdisjoint(people[row] for row in trained)


def test_a_lone_photographer_needs_other_peoples_photos() -> None:
    with pytest.raises(SourceError, match="Each of the 1 photographers took more than a share of"):
        split(["me"] * 20, 0.1, 1.0, 0)
    assert len(split(["me"] * 20, 0.0, 1.0, 0)[0]) == 20


def test_accuracy_is_of_the_nearest_place_in_the_training_gallery() -> None:
    torch.manual_seed(0)
    parts = geoclip_towers.GeoClipParts(4)
    gallery, features = (
        some_points(50).numpy(),
        np.random.default_rng(1).normal(size=(30, 4)).astype(np.float32),
    )
    truth = some_points(30, 2).numpy()
    found = Accuracy(parts, gallery, "cpu").shares(np.arange(30), features.__getitem__, truth)
    with torch.no_grad():
        images, places = (
            parts.head(torch.from_numpy(features)),
            parts.location_encoder(torch.from_numpy(gallery).float()),
        )
        best = [
            max(range(50), key=lambda n: torch.cosine_similarity(image, places[n], dim=0).item())
            for image in images
        ]
    errors = [metres(gallery[n], at) / 1000 for n, at in zip(best, truth, strict=True)]
    assert found == {
        str(km): sum(error <= km for error in errors) / 30 for km in (1, 25, 200, 750, 2500)
    }


def test_a_photo_exactly_on_a_threshold_counts_as_in_the_benchmarks() -> None:
    lats = np.degrees(25 / EARTH_RADIUS_KM) + np.arange(60.0)
    gallery, truth = (np.stack([at, np.zeros(60)], 1) for at in (np.arange(60.0), lats))
    beyond = int(np.argmax(distances_km(gallery, truth)))  # By the last bit of a double.
    assert distances_km(gallery, truth)[beyond] > 25
    one = np.ones((1, 4), np.float32)
    measure = Accuracy(geoclip_towers.GeoClipParts(4), gallery[beyond : beyond + 1], "cpu")
    shares = measure.shares(np.arange(1), one.__getitem__, truth[beyond : beyond + 1])
    assert shares == {"1": 0.0, "25": 1.0, "200": 1.0, "750": 1.0, "2500": 1.0}


def test_one_seed_gives_one_view() -> None:
    image = picture(0, (300, 200))
    first, again, other = (random_view(image, 96, seed) for seed in (1, 1, 2))
    assert first.size == (96, 96)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    grey = [len(set(random_view(image, 16, seed).getpixel((8, 8)))) == 1 for seed in range(150)]  # type: ignore[arg-type]
    assert 5 < sum(grey) < 55  # A fifth of 150, within five standard deviations.


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0()


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this module's trainings keep features, so that they are taken once."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture
def photos(landmarks: Path, features: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IMG2LOC_HOME", str(features))
    return landmarks / "gallery.csv"


def toy_csv(folder: Path, make_photo: MakePhoto, count: int = 12) -> Path:
    """Photographs made here, with places spread over the Earth."""
    rows = [
        (make_photo(f"p{n}.png", n).name, *map(float, at))
        for n, at in enumerate(some_points(count))
    ]
    path = folder / "toys.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "lat", "lon"), *rows])
    return path


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Location towers of a sixteenth of the width, with checkpoints of 5 MB in place of 120."""
    monkeypatch.setattr(geoclip_towers, "Capsule", partial(geoclip_towers.Capsule, width=64))


def weights(folder: Path) -> bytes:
    return (folder / geoclip_towers.WEIGHTS).read_bytes()


def test_real_photographs_are_learned(photos: Path, lite0: Lite0, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    settings = GeoClipTraining(encoder="lite0", epochs=3, **SMALL)
    history = train(settings, lite0, open_source(photos), whole)
    assert [record["loss"] for record in history] == sorted(
        (record["loss"] for record in history), reverse=True
    )
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert history[-1]["training"]["25"] > 0.8
    assert [record["learning_rate"] for record in history] == pytest.approx(
        [3e-4 * 0.87**n for n in range(3)]
    )
    assert [
        json.loads(line) for line in (whole / "history.jsonl").read_text().splitlines()
    ] == history


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(("steps", "left"), [(1, 0), (4, 1), (5, 1)])
def test_cut_off_in_an_epoch_it_ends_at_the_same_weights(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0, steps: int, left: int
) -> None:
    settings = GeoClipTraining(
        encoder="lite0", epochs=3, batch_size=4, queue=6, validation=0.1
    )  # Three steps an epoch.
    source, whole, cut = (
        CsvSource(toy_csv(tmp_path, make_photo)),
        tmp_path / "whole",
        tmp_path / "cut",
    )
    history = train(settings, lite0, source, whole)

    def stop(what: str, done: int, total: int, remark: str) -> None:
        if what == "steps" and done == steps:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(settings, lite0, source, cut, stop)
    lines = (cut / "history.jsonl").read_text().splitlines() if left else []
    assert len(lines) == left
    assert [record["loss"] for record in train(settings, lite0, source, cut)] == [
        record["loss"] for record in history
    ]
    assert weights(cut) == weights(whole)


@pytest.mark.usefixtures("narrow")
def test_a_kill_between_checkpoint_and_weights_is_made_good(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, source = (
        GeoClipTraining(encoder="lite0", epochs=1),
        CsvSource(toy_csv(tmp_path, make_photo)),
    )
    train(settings, lite0, source, tmp_path / "whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(geoclip_towers, "save", raise_interrupt)
        train(settings, lite0, source, tmp_path / "cut")
    assert not (tmp_path / "cut" / geoclip_towers.WEIGHTS).exists()
    train(settings, lite0, source, tmp_path / "cut")
    assert weights(tmp_path / "cut") == weights(tmp_path / "whole")


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.slow
def test_a_process_that_is_killed_ends_at_the_same_weights(
    photos: Path, lite0: Lite0, tmp_path: Path
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(GeoClipTraining(encoder="lite0", epochs=3, **SMALL), lite0, open_source(photos), whole)
    options = [
        "--encoder",
        "lite0",
        "--epochs",
        "3",
        *(f"--set={key}={value}" for key, value in SMALL.items()),
    ]
    command = [
        sys.executable,
        "-m",
        "img2loc",
        "train",
        "geoclip",
        str(photos),
        "--out",
        str(killed),
        *options,
    ]
    kill_when((killed / "history.jsonl").exists, command, stderr=subprocess.DEVNULL)
    assert len((killed / "history.jsonl").read_text().splitlines()) < 3
    done = CliRunner().invoke(app, command[3:])
    assert done.exit_code == 0, done.output
    assert "3 epochs" in done.stderr
    assert weights(killed) == weights(whole)


@pytest.mark.usefixtures("narrow")
def test_what_was_trained_answers_through_the_command_line(
    tmp_path: Path, make_photo: MakePhoto, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = toy_csv(tmp_path, make_photo), CliRunner()
    words = [
        "--encoder",
        "lite0",
        "--epochs",
        "10",
        "--set",
        "lr=1e-3",
        "--set",
        "gamma=1.0",
        "--seed",
        "1",
    ]
    done = run.invoke(
        app, ["train", "geoclip", str(source), "--out", "M", *words], catch_exceptions=False
    )
    assert 'weights = "' in done.stderr
    table = done.stderr[done.stderr.index("[encoder.mine]") : done.stderr.index("Then:")]
    configure(table)
    steps = (
        ["index", "build", str(source), "--of", "points", "--encoder", "mine", "--out", "G"],
        ["ask", str(tmp_path / "p3.png"), "--gallery", "G", "--locator", "retrieval", "--json"],
    )
    for step in steps:
        done = run.invoke(app, step, catch_exceptions=False)
        assert done.exit_code == 0
    answer = json.loads((done.stdout + capsys.readouterr().out).splitlines()[-1])
    assert metres((answer["lat"], answer["lon"]), some_points(12)[3]) < 1000


@pytest.mark.usefixtures("narrow")
def test_seeds_views_and_more_epochs(tmp_path: Path, make_photo: MakePhoto, lite0: Lite0) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo))

    def trained(name: str, **settings: Any) -> bytes:
        values: dict[str, Any] = {"encoder": "lite0", "batch_size": 8, "epochs": 2, **settings}
        train(GeoClipTraining(**values), lite0, source, tmp_path / name)
        return weights(tmp_path / name)

    once = trained("a", epochs=1)
    assert trained("b", epochs=1, seed=1) != once
    assert trained("c", epochs=1, augment=True) == trained("d", epochs=1, augment=True) != once
    assert trained("a") == trained("e") != once


def test_features_are_the_towers_own_and_are_taken_once(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    path = toy_csv(tmp_path, make_photo)
    (tmp_path / "p4.png").write_bytes(b"no photograph")
    source = CsvSource(path)
    found = extract(source, image_tower(lite0))
    assert [entry.id for entry in found.skipped] == ["p4.png"]
    kept = [number for number in range(12) if number != 4]
    assert found.points == pytest.approx(some_points(12).numpy()[kept])
    assert [photo.path.name for photo in found.photos(source)] == [
        f"p{number}.png" for number in kept
    ]
    rows = np.array([10, 0, 5])
    with torch.inference_mode():
        alone = [
            lite0.features(lite0.prepare(found.photos(source)[row].image())[None])[0]
            for row in rows
        ]
    assert found[rows] == pytest.approx(np.stack(alone), abs=1e-4)
    for number in kept:
        (tmp_path / f"p{number}.png").unlink()
    assert np.array_equal(extract(source, image_tower(lite0))[rows], found[rows])


@pytest.mark.usefixtures("narrow")
def test_validation_is_measured_and_not_trained_on(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    path = toy_csv(tmp_path, make_photo)
    settings: dict[str, Any] = {"encoder": "lite0", "epochs": 1}
    share = train(
        GeoClipTraining(validation=0.25, **settings), lite0, CsvSource(path), tmp_path / "share"
    )
    assert share[0]["validation"]["25"] == 0.0  # Places of its own, far from those of the gallery.
    csv_too = train(
        GeoClipTraining(validation=str(path), **settings), lite0, CsvSource(path), tmp_path / "csv"
    )
    assert csv_too[0]["validation"] == csv_too[0]["training"]


@pytest.mark.usefixtures("narrow")
def test_fine_tuning_starts_from_weights_of_the_same_tower(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo))
    train(GeoClipTraining(encoder="lite0", epochs=1), lite0, source, tmp_path / "a")
    train(
        GeoClipTraining(encoder="lite0", epochs=1, lr=1e-12, weights=str(tmp_path / "a")),
        lite0,
        source,
        tmp_path / "b",
    )
    before, after = (geoclip_towers.load(str(tmp_path / name))[0].state_dict() for name in "ab")
    assert all(torch.allclose(before[name], after[name], atol=1e-9) for name in before)
    with pytest.raises(ConfigError, match=r"have sigma \[1.0, 16.0, 256.0\], not \[1, 2\]"):
        train(
            GeoClipTraining(encoder="lite0", weights=str(tmp_path / "a"), sigma=[1, 2]),
            lite0,
            source,
            tmp_path / "d",
        )


@pytest.mark.usefixtures("narrow")
def test_a_folder_of_another_training_is_refused(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    path = toy_csv(tmp_path, make_photo)
    out, source = tmp_path / "m", CsvSource(path)
    train(GeoClipTraining(encoder="lite0", epochs=2), lite0, source, out)
    with pytest.raises(ConfigError, match=r"lr is 3e-05 there and 0.001 now"):
        train(GeoClipTraining(encoder="lite0", epochs=2, lr=1e-3), lite0, source, out)
    with pytest.raises(ConfigError, match=r"training of 2 epochs already, more than 1"):
        train(GeoClipTraining(encoder="lite0", epochs=1), lite0, source, out)
    with claimed(out), pytest.raises(ConfigError, match="Another process is writing the model"):
        train(GeoClipTraining(encoder="lite0", epochs=2), lite0, source, out)
    with pytest.raises(ConfigError, match=r"'pixels/6' cannot be the image tower"):
        train(GeoClipTraining(), PixelEncoder(), source, tmp_path / "n")
    (tmp_path / "plain").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        train(GeoClipTraining(epochs=1), lite0, source, tmp_path / "plain")


@pytest.mark.usefixtures("narrow")
def test_no_usable_photo_is_a_sentence_and_can_be_mended(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    path = tmp_path / "missing.csv"
    path.write_text("file,lat,lon\nlate.png,1,2\nlater.png,3,4\nlatest.png,5,6\n")
    with pytest.raises(SourceError, match=r"No photograph of .*missing.csv can be used: "):
        train(GeoClipTraining(encoder="lite0", epochs=1), lite0, CsvSource(path), tmp_path / "m")
    make_photo("late.png")
    make_photo("latest.png", 1)
    train(GeoClipTraining(encoder="lite0", epochs=1), lite0, CsvSource(path), tmp_path / "m")
    with (tmp_path / "m" / "skipped.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["later.png"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--set", "learning_rate=1"],
            r"\[train.geoclip\] has no key 'learning_rate'. Known: kind, encoder, .*lr",
        ),
        (["--set", "lr=fast"], r"\[train.geoclip\] lr = 'fast'"),
        (["--set", "lr"], r"is not KEY=VALUE"),
        (["--set", "lr=nan"], r"lr = nan: should be above 0"),
        (["--set", 'optimizer="sgd"'], r"optimizer = 'sgd'"),
        (["--set", "batch_size=1"], r"batch_size = 1: should be 2 or more"),
        (["--fraction", "0"], r"fraction = 0.0: should be above 0 and at most 1"),
        (["--validation", "1"], r"validation = 1.0: should be a share below 1"),
        (["--validation", "none.csv"], r"none.csv cannot be read"),
        (["--epochs", "0"], r"epochs = 0: should be 1 or more"),
        (["--seed", "-1"], r"seed = -1: should be 0 or more"),
        (["--set", "device=meta"], r"device = 'meta': should be "),
        (["--set", "epochs=true"], r"epochs = True"),
        (["--encoder", "nobody"], r"no encoder named 'nobody'"),
    ],
)
def test_mistakes_are_sentences(
    tmp_path: Path, make_photo: MakePhoto, words: list[str], message: str
) -> None:
    path = toy_csv(tmp_path, make_photo, 2)
    with pytest.raises(Img2LocError, match=message):
        CliRunner().invoke(
            app,
            ["train", "geoclip", str(path), "--out", "M", "--encoder", "lite0", *words],
            catch_exceptions=False,
        )


def test_weights_of_another_tower_are_refused(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo))
    with pytest.raises(
        ConfigError,
        match=r"weights 'package' belong to an image tower of 768 features, not to 'lite0/",
    ):
        train(GeoClipTraining(encoder="lite0", weights="package"), lite0, source, tmp_path / "c")


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize(
    "values", [{"lr": 1e30}, {"lr": 1e30, "batch_size": 512}, {"sigma": [1e300]}]
)
def test_a_training_that_diverges_stops_and_leaves_the_last_checkpoint(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0, values: dict[str, Any]
) -> None:
    source, out = CsvSource(toy_csv(tmp_path, make_photo)), tmp_path / "m"
    rate = values.get("lr", 3e-5)
    with pytest.raises(
        ConfigError,
        match=rf"in epoch 1, at a learning rate of {re.escape(f'{rate:g}')}, .* Lower \[train",
    ):
        train(
            GeoClipTraining(**{"encoder": "lite0", "batch_size": 4, **values}), lite0, source, out
        )
    assert not (out / "training.pt").exists()
    assert not (out / "history.jsonl").exists()


@pytest.mark.usefixtures("narrow")
def test_where_nothing_can_be_told_apart_nothing_is_trained(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0
) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo))
    with pytest.raises(
        ConfigError, match=r"In epoch 1 no photograph had a negative.* 1e\+09 metres"
    ):
        train(GeoClipTraining(encoder="lite0", same_place_m=1e9), lite0, source, tmp_path / "m")
    with pytest.raises(SourceError, match="training needs 2 or more"):
        train(GeoClipTraining(encoder="lite0", fraction=0.1), lite0, source, tmp_path / "n")


@pytest.mark.usefixtures("narrow")
def test_a_model_of_others_is_never_written_over(
    tmp_path: Path, make_photo: MakePhoto, lite0: Lite0, tiny_clip: Path
) -> None:
    source, clip = CsvSource(toy_csv(tmp_path, make_photo)), tmp_path / "clip"
    shutil.copytree(tiny_clip, clip)
    before = {path.name: path.read_bytes() for path in clip.iterdir()}
    with pytest.raises(
        ConfigError,
        match=(
            r"clip holds a model that no training here has made \(config.json, and no training.pt"
        ),
    ):
        train(GeoClipTraining(encoder="lite0"), lite0, source, clip)
    assert {path.name: path.read_bytes() for path in clip.iterdir()} == before
    train(GeoClipTraining(encoder="lite0", epochs=1), lite0, source, tmp_path / "a")
    with pytest.raises(ConfigError, match="holds the weights that the training starts from"):
        train(
            GeoClipTraining(encoder="lite0", weights=str(tmp_path / "a")),
            lite0,
            source,
            tmp_path / "work" / ".." / "a",
        )


def test_features_follow_the_files(tmp_path: Path, make_photo: MakePhoto, lite0: Lite0) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo))
    (tmp_path / "p4.png").rename(tmp_path / "away.png")
    (tmp_path / "p5.png").write_bytes(b"torn")
    assert [entry.id for entry in extract(source, image_tower(lite0)).skipped] == [
        "p4.png",
        "p5.png",
    ]
    (tmp_path / "away.png").rename(tmp_path / "p4.png")
    make_photo("p5.png", 5)
    whole = extract(source, image_tower(lite0))
    assert whole.skipped == []
    assert len(whole) == 12
    before = whole[np.arange(12)]
    make_photo("p0.png", 77)  # Other contents under an old name.
    changed = extract(source, image_tower(lite0))[np.arange(12)]
    assert [np.array_equal(*pair) for pair in zip(changed, before, strict=True)] == [False] + [
        True
    ] * 11


def test_features_are_kept_by_the_towers_precision(
    tmp_path: Path, make_photo: MakePhoto, tiny_clip: Path
) -> None:
    source = CsvSource(toy_csv(tmp_path, make_photo, 2))
    towers = [TransformersClip(str(tiny_clip), "cpu", dtype) for dtype in ("float32", "bfloat16")]
    assert len({extract(source, tower).folder for tower in towers}) == 2


def test_points_are_no_photographs() -> None:
    with pytest.raises(SourceError, match=r"'gps-100k' is of points. Training needs photographs"):
        CliRunner().invoke(
            app, ["train", "geoclip", "gps-100k", "--out", "M"], catch_exceptions=False
        )


@pytest.mark.parametrize(
    "words", [["--epochs", "1", "--set", "epochs=2"], ["--set", "lr=1", "--set", "lr = 2"]]
)
def test_a_key_that_is_given_twice_is_a_usage_error(run: Cli, words: list[str]) -> None:
    code, _, said = run("train", "geoclip", "x.csv", "--out", "M", *words)
    assert code == 2
    assert "is given twice" in said


def test_the_papers_tables_by_name(run: Cli) -> None:
    words = ("train", "geoclip", "none.csv", "--out", "T", "--set", "epochs=0", "--table")
    code, _, err = run(*words, "geoclip-paper")
    assert code == 1
    assert "epochs = 0: should be 1 or more" in err  # Its values are read, and checked.
    assert "of kind 'streetclip', not 'geoclip'" in run(*words, "streetclip-paper")[2]
    assert "no train named 'x'. Known: geoclip, geoclip-paper, streetclip" in run(*words, "x")[2]
    shipped = Config.shipped()
    for kind in ("geoclip", "streetclip"):
        make, arguments = resolve("train", kind, shipped.table("train", f"{kind}-paper"))
        make(**arguments)


def test_streetclip_takes_a_recipes_licenses(
    tmp_path: Path, make_photo: MakePhoto, tiny_clip: Path, run: Cli
) -> None:
    path, recipe = toy_csv(tmp_path, make_photo), tmp_path / "free.toml"
    lines = path.read_text().splitlines()
    kept = [
        f"{line},{('Peru', 'Chile')[n % 2]},{'CC BY 4.0' if n % 3 else 'all rights'}"
        for n, line in enumerate(lines[1:])
    ]
    path.write_text("\n".join([f"{lines[0]},country,license", *kept]))
    recipe.write_text('path = "toys.csv"\nlicences = ["CC BY"]\n')
    words = ["--model", tiny_clip, "--epochs", "1"]
    assert run("train", "streetclip", recipe, "--out", "S", *words)[0] == 0
    few = tmp_path / "few.csv"
    few.write_text(
        "\n".join([f"{lines[0]},country,license", *(line for line in kept if "CC BY" in line)])
    )
    assert run("train", "streetclip", few, "--out", "F", *words)[0] == 0
    assert (Path("S") / "model.safetensors").read_bytes() == (
        Path("F") / "model.safetensors"
    ).read_bytes()


def test_streetclip_is_trained_by_the_command_line_too(
    tmp_path: Path, make_photo: MakePhoto, tiny_clip: Path
) -> None:
    path, run = toy_csv(tmp_path, make_photo), CliRunner()
    path.write_text(
        "\n".join(
            f"{line},{'country' if n == 0 else ('Peru', 'Chile')[n % 2]}"
            for n, line in enumerate(path.read_text().splitlines())
        )
    )
    words = ["--model", str(tiny_clip), "--epochs", "2", "--set", "accumulate=1"]
    # In a process of its own: transformers reads whether it may draw bars when it is imported.
    command = [sys.executable, "-m", "img2loc", "train", "streetclip", str(path), "--out", "S"]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=True)
    assert "2 epochs, loss " in done.stderr
    assert "by country. 0 rows were skipped, 0 photos cannot be read." in done.stderr
    assert "it/s" not in done.stderr
    configure(done.stderr[done.stderr.index("[encoder.mine]") :])
    assert (
        run.invoke(app, ["index", "build", str(path), "--encoder", "mine", "--out", "G"]).exit_code
        == 0
    )
    with pytest.raises(SourceError, match="is not a CSV or Parquet file"):
        run.invoke(
            app,
            ["train", "streetclip", str(tmp_path), "--out", "S2", *words],
            catch_exceptions=False,
        )
