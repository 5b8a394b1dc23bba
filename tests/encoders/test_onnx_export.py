"""Exports of tiny random models of the real classes, against what they were made from."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.types import Embeddings, Photo
from img2loc.encoders import geoclip_towers, onnx_export
from img2loc.encoders.geoclip import GeoClip
from img2loc.encoders.onnx import OnnxEncoder
from img2loc.encoders.onnx_export import export, synthetic_photos
from img2loc.encoders.open_clip import OpenClip
from img2loc.encoders.preprocessing_of import processor_steps, transform_steps
from img2loc.encoders.timm import Timm
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.encoders.transformers import TransformersClip
from tests.conftest import Cli, MakePhoto, configure, picture

SIZES = [(96, 64), (64, 97), (301, 200), (33, 47), (224, 224), (45, 333)]


@pytest.fixture
def photos(make_photo: MakePhoto) -> list[Photo]:
    return [Photo(make_photo(f"{n}.jpg", n, size)) for n, size in enumerate(SIZES)]


def rows(encoder: Any, photos: list[Photo]) -> Embeddings:
    return np.stack(list(encoder.encode(photos)))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    import timm

    torch.manual_seed(3)
    path = tmp_path / "test_vit.pth"
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), path)
    return path


Make = Callable[[], TorchEncoder]


@pytest.fixture
def towers(tiny_open_clip: Path, tiny_clip: Path, weights: Path, tmp_path: Path) -> dict[str, Make]:
    plain: dict[str, Any] = {"device": "cpu", "dtype": "float32"}
    torch.manual_seed(0)
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=24), tmp_path / "w", {})

    def transformers() -> TorchEncoder:
        return TransformersClip(str(tiny_clip), **plain)

    return {
        "open_clip": lambda: OpenClip(f"local-dir:{tiny_open_clip}", **plain),
        "transformers": transformers,
        "timm": lambda: Timm("test_vit", str(weights), **plain),
        "geoclip": lambda: GeoClip(transformers(), weights=str(tmp_path / "w")),
    }


@pytest.mark.parametrize("kind", ["open_clip", "transformers", "timm", "geoclip"])
def test_an_exported_tower_gives_the_towers_vectors(
    towers: dict[str, Make], kind: str, photos: list[Photo], tmp_path: Path
) -> None:
    original = towers[kind]()
    found = export(original, tmp_path / "out", photos)
    exported = OnnxEncoder(str(tmp_path / "out"), "cpu", batch_size=4)
    cosines = (rows(exported, photos) * rows(original, photos)).sum(axis=1)
    assert cosines.min() >= 0.99999
    assert found.worst_cosine == pytest.approx(float(cosines.min()), abs=1e-5)
    assert min(found.torch_rate, found.onnx_rate) > 0
    assert exported.of[0] == original.name
    assert (exported.dim, exported.size) == (original.dim, original.size)
    assert exported.scale == (None if original.scale is None else pytest.approx(original.scale))
    for size in SIZES:
        ours, theirs = exported.prepare(picture(7, size)), original.prepare(picture(7, size))
        assert np.abs(ours - theirs.numpy()).max() < 1e-5
    if isinstance(original, GeoClip):
        assert exported.of == (original.name, original.location_name)


@pytest.mark.parametrize("int8", [False, True])
def test_large_weights_have_a_file_of_their_own_and_eight_bits_are_small(
    towers: dict[str, Make],
    photos: list[Photo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    int8: bool,
) -> None:
    monkeypatch.setattr(onnx_export, "_LARGEST_FILE", 0)
    original = towers["timm"]()
    found = export(original, tmp_path / "out", photos, int8)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    expected = {"model.onnx", "encoder.json", "img2loc.toml"}
    assert names == (expected if int8 else expected | {"model.onnx.data"})
    assert found.worst_cosine >= (0.98 if int8 else 0.99999)
    weights = sum(each.nbytes for each in original.networks[0].state_dict().values()) / 1e6
    assert found.size_mb < (0.7 if int8 else 1.3) * weights


def test_a_tower_that_differs_is_refused_and_leaves_nothing(
    towers: dict[str, Make],
    photos: list[Photo],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original = towers["open_clip"]()
    steps = original.preprocessing()
    wrong = {**steps.facts(), "mean": (0.0, 0.0, 0.0)}
    monkeypatch.setattr(original, "preprocessing", lambda: type(steps).of(wrong))
    with pytest.raises(ConfigError, match=r"cosine of 0\.\d+, and 0.999 is the least. Nothing was"):
        export(original, tmp_path / "out", photos)
    with pytest.raises(SourceError, match=r"absent\.jpg: no such file"):
        export(towers["open_clip"](), tmp_path / "out", [Photo(tmp_path / "absent.jpg")])
    assert not list(tmp_path.glob("out*"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("kept")
    with pytest.raises(ConfigError, match="out is there already"):
        export(original, tmp_path / "out", photos)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_preprocessing_that_cannot_be_repeated_is_a_sentence(
    tiny_clip: Path, tmp_path: Path
) -> None:
    from open_clip.transform import image_transform
    from transformers import CLIPImageProcessor, SiglipImageProcessor

    squashed = processor_steps(SiglipImageProcessor())
    assert (squashed.size, squashed.resize) == (224, "squash")
    assert transform_steps(image_transform(64, False, resize_mode="squash")).resize == "squash"
    whole = transform_steps(image_transform(64, False, resize_mode="shortest"))
    assert (whole.size, whole.resize, whole.interpolation) == (64, 64, "bicubic")
    makes: list[Callable[[], object]] = [
        lambda: transform_steps(image_transform(64, False, resize_mode="longest")),
        lambda: transform_steps(image_transform((64, 32), False)),
        lambda: processor_steps(CLIPImageProcessor(do_resize=False)),
        lambda: processor_steps(CLIPImageProcessor(do_center_crop=False)),
    ]
    for make in makes:
        with pytest.raises(ConfigError, match="which an ONNX encoder can repeat"):
            make()
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=24), tmp_path / "w", {})
    tower = TransformersClip(str(tiny_clip), device="cpu", dtype="float32")
    crops = GeoClip(tower, weights=str(tmp_path / "w"), views="ten-crop")
    with pytest.raises(ConfigError, match='views = "single"'):
        export(crops, tmp_path / "out")


def test_the_command_writes_a_folder_that_a_gallery_takes(
    run: Cli, tiny_clip: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    table = f'[encoder.tiny]\nkind = "transformers"\nmodel = "{tiny_clip}"\ndtype = "bfloat16"\n'
    configure(table)
    lines = [f"{make_photo(f'album/{n}.jpg', n).name},{n + 1},{n + 2}" for n in range(4)]
    album = tmp_path / "album"
    (album / "all.csv").write_text("photo,lat,lon\n" + "\n".join(lines))
    out = tmp_path / "tower"
    code, _, err = run("encoder", "export", "tiny", "--out", out, "--photos", album)
    assert code == 0, err
    assert "Worst cosine over 4 photos: 0.99999" in err or "4 photos: 1.000000" in err
    assert "texts and points need tiny itself" in err
    use = (out / "img2loc.toml").read_text()
    assert use in err
    places = tmp_path / "places"
    assert run("index", "build", album / "all.csv", "--out", places, "--encoder", "tiny")[0] == 0
    mine = f'[locator.mine]\nkind = "retrieval"\nencoder = "tiny-onnx"\ngallery = "{places}"\n'
    configure(table + use + mine)
    code, answer, err = run("ask", album / "3.jpg", "--locator", "mine", "--json")
    assert code == 0, err
    assert json.loads(answer)["lat"] == 4.0
    configure(f'[encoder.tiny]\nkind = "onnx"\nfolder = "{out}"\n')  # In its place.
    code, answer, err = run(
        *("ask", album / "3.jpg", "--gallery", places, "--locator", "retrieval", "--json")
    )
    assert code == 0, err
    assert json.loads(answer)["lat"] == 4.0
    code, _, err = run("encoder", "export", "tiny", "--out", tmp_path / "again")
    assert code == 1
    assert "not run by torch" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nonsense",), "no encoder named 'nonsense'"),
        (("lite0",), "not run by torch"),
        (("clip-l14",), "img2loc setup clip-l14"),
        (("lite0", "--photos", "."), "holds no photographs"),
    ],
)
def test_what_cannot_be_exported_is_a_sentence(
    run: Cli, words: tuple[str, ...], message: str
) -> None:
    code, _, err = run("encoder", "export", *words, "--out", "out")
    assert code == 1
    assert message in err
    assert not Path("out").exists()


def test_synthetic_photos_are_the_same_each_time_and_differ() -> None:
    first, second = synthetic_photos(), synthetic_photos()
    assert [photo.data for photo in first] == [photo.data for photo in second]
    assert len({photo.data for photo in first}) == len(first)
