"""Training StreetCLIP on a tiny random CLIP: it learns, survives a kill, and gives an encoder."""

import csv
import json
import math
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from img2loc.core.errors import ConfigError, MissingWeights, SourceError
from img2loc.core.types import Photo, Rejected
from img2loc.encoders.transformers import TransformersClip
from img2loc.training import checkpoint
from img2loc.training.caption_loss import caption_loss
from img2loc.training.place_names import PlacedPhoto, placed_photos
from img2loc.training.streetclip import StreetClipTraining, train
from tests.conftest import kill_when

PLACES = [
    ("Lima", "Lima", "Peru", (200, 30, 30)),
    ("Cusco", "Cusco", "Peru", (220, 70, 40)),
    ("Lyon", "Rhône", "France", (30, 200, 40)),
    ("Paris", "Île-de-France", "France", (40, 220, 90)),
    ("Cairo", "Cairo", "Egypt", (40, 40, 210)),
    ("Giza", "Giza", "Egypt", (90, 60, 230)),
]


@pytest.fixture
def rows(tmp_path: Path) -> list[PlacedPhoto]:
    """Photographs whose colour tells the place, a few of each."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(36):
        city, region, country, colour = PLACES[number % len(PLACES)]
        noise = rng.integers(-15, 16, (24, 32, 3)) + np.array(colour)
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8)).save(path)
        found.append(PlacedPhoto(Photo(path), city, region, country))
    return found


@pytest.fixture
def quick(tiny_clip: Path) -> StreetClipTraining:
    return StreetClipTraining(
        model=str(tiny_clip), epochs=8, lr=2e-3, batch_size=12, accumulate=1, device="cpu",
        city="{city} in {country}.", region="{region}, {country}", country="in {country}.",
    )  # fmt: skip


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    first, second = weights(a), weights(b)
    return first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


def zero_shot(encoder: TransformersClip, rows: Sequence[PlacedPhoto], template: str) -> float:
    """Share of photographs whose own country's caption is the nearest, counted independently."""
    countries = sorted({row.country for row in rows})
    texts = encoder.encode_texts([template.format(country=country) for country in countries])
    photos = np.stack(list(encoder.encode(row.photo for row in rows)))  # type: ignore[arg-type]
    return float(
        np.mean(
            [
                countries[int(best)] == row.country
                for best, row in zip((photos @ texts.T).argmax(1), rows, strict=True)
            ]
        )
    )


def test_the_loss_falls_and_countries_are_told_apart(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    seen: list[int] = []
    history = train(rows, quick, tmp_path / "run", seen.append)
    losses = [epoch["loss"] for epoch in history]
    assert losses[-1] < 0.7 * losses[0]
    assert [epoch["epoch"] for epoch in history] == list(range(1, 9))
    assert [
        json.loads(line)
        for line in (tmp_path / "run" / checkpoint.HISTORY).read_text().splitlines()
    ] == history
    assert seen == [count + 12 for count in range(0, 8 * 36, 12)]
    before = zero_shot(TransformersClip(quick.model, "cpu", "float32"), rows, quick.country)
    after = zero_shot(
        TransformersClip(str(tmp_path / "run"), "cpu", "float32"), rows, quick.country
    )
    assert after > 0.8 > 0.6 > before


def test_a_seed_repeats_itself_and_another_does_not(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    short = replace(quick, epochs=1)
    for name, settings in (("a", short), ("b", short), ("c", replace(short, seed=1))):
        train(rows, settings, tmp_path / name)
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


@pytest.mark.parametrize("after", [0, 30, 60])
def test_cut_off_and_taken_up_it_ends_at_the_same_weights(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path, after: int
) -> None:
    short = replace(quick, epochs=3)

    def stop(done: int) -> None:
        if done > after:
            raise KeyboardInterrupt

    whole = train(rows, short, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(rows, short, tmp_path / "cut", stop)
    assert (tmp_path / "cut" / checkpoint.CHECKPOINT).exists() == (after > 36)
    assert train(rows, short, tmp_path / "cut") == whole
    assert same(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_sigkill_and_again(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    """A real process, really killed after its first checkpoint."""
    short = replace(quick, epochs=3)
    script = (
        "import signal, sys; from pathlib import Path\n"
        "from img2loc.training.place_names import PlacedPhoto\n"
        "from img2loc.training.streetclip import StreetClipTraining, train\n"
        "from img2loc.core.types import Photo\n"
        "rows = [PlacedPhoto(Photo(Path(path)), *names)"
        f" for path, *names in {[told(row) for row in rows]!r}]\n"
        f"train(rows, {short!r}, Path(sys.argv[1]),"
        " lambda done: signal.pause() if done > 48 else None)"
    )
    folder = tmp_path / "killed"
    kill_when(
        lambda: (folder / checkpoint.CHECKPOINT).exists(),
        [sys.executable, "-c", script, str(folder)],
    )
    assert not (folder / "model.safetensors").exists()
    train(rows, short, folder)
    train(rows, short, tmp_path / "whole")
    assert same(folder, tmp_path / "whole")


def told(row: PlacedPhoto) -> list[str]:
    return [str(row.photo.path), row.city, row.region, row.country]


def test_accumulated_batches_weigh_like_one(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    """36 photos in 3 accumulated batches are one step: the optimizer has counted one."""
    train(rows, replace(quick, epochs=1, accumulate=12), tmp_path / "run")
    state = torch.load(tmp_path / "run" / checkpoint.CHECKPOINT, weights_only=True)["state"]
    assert {int(entry["step"]) for entry in state["optimizer"]["state"].values()} == {1}


def test_unreadable_and_placeless_photos_are_counted(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    (tmp_path / "broken.png").write_bytes(b"broken")
    broken = replace(rows[0], photo=Photo(tmp_path / "broken.png"))
    regionless = replace(rows[1], region="")
    history = train(
        [*rows, broken, regionless, Rejected("x", "nowhere")],
        replace(quick, epochs=1),
        tmp_path / "run",
    )
    assert history[0]["unreadable"] == 1
    assert history[0]["skipped"] == 1
    with pytest.raises(SourceError, match="None of 2 photographs can be read"):
        train([broken, replace(broken, country="Egypt")], quick, tmp_path / "none")
    with pytest.raises(SourceError, match="The 7 photographs with a place have the same captions"):
        train([rows[0]] * 7, quick, tmp_path / "same")
    with pytest.raises(SourceError, match="not one photograph with a place"):
        train([Rejected("x", "nowhere")], quick, tmp_path / "no")


def test_captions_are_those_that_a_place_has_names_for() -> None:
    settings = StreetClipTraining()
    photo = PlacedPhoto(Photo(Path("x.jpg")), "Lyon", "", "France")
    assert settings.captions(photo) == ("", "", "A Street View photo in France.")
    assert settings.captions(replace(photo, region="Rhône"))[:2] == (
        "A Street View photo close to the town of Lyon in the region of Rhône in France.",
        "A Street View photo in the region of Rhône in France.",
    )
    assert replace(settings, region="").captions(replace(photo, region="Rhône"))[1] == ""


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"epochs": 0}, "epochs = 0"),
        ({"epochs": True}, "epochs = True"),
        ({"lr": 0.0}, "lr = 0.0"),
        ({"lr": math.inf}, "lr = inf"),
        ({"lr": math.nan}, "lr = nan"),
        ({"weight_decay": math.nan}, "weight_decay = nan"),
        ({"weight_decay": math.inf}, "weight_decay = inf"),
        ({"dtype": "float16"}, "dtype = 'float16'"),
        ({"seed": -1}, "seed = -1"),
        ({"device": "meta"}, "device = 'meta'"),
        ({"batch_size": 1}, "batch_size = 1"),
        ({"city": "in {town}"}, "names 'town'"),
        ({"city": "", "region": "", "country": ""}, "no template"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changed: dict[str, Any], said: str) -> None:
    with pytest.raises((ConfigError, SourceError), match=said):
        StreetClipTraining(**changed)


def test_another_training_in_the_folder_and_missing_weights(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    short = replace(quick, epochs=1)
    train(rows, short, tmp_path / "run")
    with pytest.raises(
        ConfigError, match=r"was begun differently: lr is 0\.002 there and 0\.001 now"
    ):
        train(rows, replace(short, lr=1e-3), tmp_path / "run")
    with pytest.raises(ConfigError, match="photos is"):
        train(rows[:12], short, tmp_path / "run")
    with pytest.raises(MissingWeights, match="geolocal/StreetCLIP"):
        train(rows, replace(short, model="geolocal/StreetCLIP"), tmp_path / "other")


def test_more_epochs_go_on_and_fewer_are_refused(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    train(rows, replace(quick, epochs=1), tmp_path / "on")
    two = replace(quick, epochs=2)
    assert train(rows, two, tmp_path / "on") == train(rows, two, tmp_path / "whole")
    assert same(tmp_path / "on", tmp_path / "whole")
    with pytest.raises(ConfigError, match="training of 2 epochs already, more than 1"):
        train(rows, replace(quick, epochs=1), tmp_path / "on")


def test_a_training_never_writes_over_the_model_that_it_starts_from(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    base, copy = tmp_path / "base", tmp_path / "copy"
    for folder in (base, copy):
        shutil.copytree(quick.model, folder)
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    with pytest.raises(ConfigError, match="base holds the weights that the training starts from"):
        train(rows, replace(quick, model=str(base)), base)
    with pytest.raises(ConfigError, match="copy holds a model that no training here has made"):
        train(rows, quick, copy)
    for folder in (base, copy):
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(("lr", "accumulate"), [(1e20, 1), (1e30, 12)])
def test_a_training_that_diverges_stops_and_leaves_the_last_checkpoint(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path, lr: float, accumulate: int
) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"in epoch 1, at a learning rate of {re.escape(f'{lr:g}')}, .* Lower \[train",
    ):
        train(rows, replace(quick, lr=lr, accumulate=accumulate), tmp_path / "m")
    assert not (tmp_path / "m" / checkpoint.CHECKPOINT).exists()
    assert not (tmp_path / "m" / checkpoint.HISTORY).exists()


def test_dropped_rows_leave_names_where_they_belong(tmp_path: Path) -> None:
    lines = [
        ("id", "file", "lat", "lon", "country", "license"),
        ("a", "a.jpg", 1, 2, "Wrong", "all rights reserved"),
        ("a", "a.jpg", 1, 2, "Gaul", "CC BY 4.0"),
        ("b", "b.jpg", 95, 0, "Wrong", "CC BY 4.0"),
        ("b", "b.jpg", 1, 2, "Hispania", "CC BY 4.0"),
        ("b", "b.jpg", 1, 2, "Wrong", "CC BY 4.0"),
        ("c", "", 1, 2, "Wrong", "CC BY 4.0"),
        ("c", "c.jpg", 1, 2, "Noricum", "CC BY 4.0"),
    ]
    with (tmp_path / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    found = [
        row
        for row in placed_photos(tmp_path / "all.csv", licenses=["CC BY"])
        if isinstance(row, PlacedPhoto)
    ]
    assert [(row.photo.path.name, row.country) for row in found] == [
        ("a.jpg", "Gaul"),
        ("b.jpg", "Hispania"),
        ("c.jpg", "Noricum"),
    ]


def test_names_come_from_the_csv_or_from_the_nearest_town(tmp_path: Path) -> None:
    lines = [
        ("file", "lat", "lon", "town", "country"),
        ("a.jpg", 48.8584, 2.2945, "Somewhere", "Gaul"),
        ("b.jpg", -33.8568, 151.2153, "", ""),
        ("c.jpg", 95, 0, "", ""),
        ("d.jpg", 0.5, -30, "", ""),
    ]
    with (tmp_path / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    first, second, third, fourth = placed_photos(tmp_path / "all.csv")
    assert first == PlacedPhoto(Photo(tmp_path / "a.jpg"), "Somewhere", "", "Gaul")
    assert isinstance(second, PlacedPhoto)
    assert (second.region, second.country) == ("New South Wales", "Australia")
    assert isinstance(third, Rejected)
    assert "no point on Earth" in third.reason
    assert fourth == Rejected("d.jpg", "no town within 100 km names its place")


def test_captions_choose_their_photos_too() -> None:
    """By hand: three photographs, the first two of one caption."""
    logits = torch.tensor([[2.0, 0.5], [1.0, -1.0], [0.0, 3.0]])
    targets = torch.tensor([0, 0, 1])
    probabilities = logits.double().softmax(dim=1)
    over_captions = -probabilities[[0, 1, 2], targets].log().mean()
    by_caption = logits.double().softmax(dim=0).log()
    over_photos = -((by_caption[0, 0] + by_caption[1, 0]) / 2 + by_caption[2, 1]) / 2
    assert float(caption_loss(logits, targets, False)) == pytest.approx(float(over_captions))
    both = float(over_captions + over_photos) / 2
    assert float(caption_loss(logits, targets, True)) == pytest.approx(both)


def test_both_halves_of_the_loss_train_another_model_with_one_caption_a_photo(
    rows: list[PlacedPhoto], quick: StreetClipTraining, tmp_path: Path
) -> None:
    one = replace(quick, epochs=2, region="", country="")
    both = replace(one, both_ways=True)
    assert one.captions(rows[0]) == ("Lima in Peru.", "", "")
    (first, _), (second, last) = (
        train(rows, settings, tmp_path / name) for name, settings in (("one", one), ("both", both))
    )
    assert first.keys() == second.keys()
    assert first["loss"] != second["loss"]
    assert math.isfinite(last["loss"])
    assert not same(tmp_path / "one", tmp_path / "both")
