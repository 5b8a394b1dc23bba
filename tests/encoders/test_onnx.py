"""A folder of an image tower, run by onnxruntime: what it gives, and what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.core.errors import ConfigError, MissingWeights, WrongEncoder
from img2loc.core.protocols import names_of
from img2loc.core.types import Photo, Rejected
from img2loc.encoders import lite0
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.onnx import OnnxEncoder
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Retriever
from tests.conftest import MakePhoto


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped encoder."""
    copy = tmp_path / "encoder"
    copy.mkdir()
    for name in ("model.onnx", "encoder.json"):
        shutil.copy(Path(lite0.__file__).with_name(name), copy)
    return copy


def change(folder: Path, **facts: Any) -> None:
    file = folder / "encoder.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **facts}))


def test_a_table_names_a_folder(folder: Path, make_photo: MakePhoto, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text(f'[encoder.mine]\nkind = "onnx"\nfolder = "{folder}"\nbatch_size = 2\n')
    encoder = factory.encoder(Config.load(config), "mine", device="cpu")
    photos = [Photo(make_photo(f"{seed}.jpg", seed)) for seed in range(5)]
    photos.insert(2, Photo(tmp_path / "absent.jpg"))
    found, shipped = list(encoder.encode(photos)), list(Lite0("cpu").encode(photos))
    assert isinstance(found[2], Rejected)
    assert found[2].reason == "no such file"
    for number in (0, 1, 3, 4, 5):
        assert np.dot(found[number], shipped[number]) > 0.99999  # type: ignore[arg-type]
    assert encoder.name.startswith("onnx/1280d-224px@")


def test_its_name_follows_model_and_preprocessing(folder: Path) -> None:
    first = OnnxEncoder(str(folder), "cpu").name
    change(folder, worst_cosine=0.99)
    assert OnnxEncoder(str(folder), "cpu").name == first
    change(folder, mean=[0, 0, 0])
    assert OnnxEncoder(str(folder), "cpu").name != first


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"format": 2}, r"encoder.json is not of format 1"),
        ({"size": None}, r"encoder.json describes no encoder"),
        ({"size": 320, "resize": 320}, r"model.onnx is not the model of its encoder.json: .*320"),
        ({"dim": 768}, r"model.onnx is not the model of its encoder.json: .*768 features"),
        ({"resize": 200}, r"resize is 200"),
        ({"resize": "stretch"}, r"describes no encoder"),
        ({"interpolation": "best"}, r"interpolation is 'best'; known: nearest, bilinear"),
        ({"longer_side": "up"}, r"longer_side is 'up'"),
        ({"mean": [1, 2]}, r"one number for each of 3 channels"),
        ({"std": [1, 0, 1]}, r"std not 0"),
        ({"std": [1, float("nan"), 1]}, r"finite"),
        ({"scale": "much"}, r"describes no encoder"),
        ({"of": 3}, r"describes no encoder"),
    ],
)
def test_a_foreign_description_is_a_sentence(
    folder: Path, facts: dict[str, Any], words: str
) -> None:
    change(folder, **facts)
    with pytest.raises(MissingWeights, match=words) as raised:
        OnnxEncoder(str(folder))
    assert "img2loc encoder export NAME --out FOLDER" in str(raised.value)


def test_missing_and_damaged_files_are_named(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"junk")
    with pytest.raises(MissingWeights, match=r"onnxruntime cannot load .*model.onnx"):
        OnnxEncoder(str(folder))
    (folder / "model.onnx").unlink()
    with pytest.raises(MissingWeights, match=r"There is no file .*model.onnx"):
        OnnxEncoder(str(folder))
    for content in ("{", "[]", "[" * 100_000):
        (folder / "encoder.json").write_text(content)
        with pytest.raises(MissingWeights, match=r"encoder.json"):
            OnnxEncoder(str(folder))
    with pytest.raises(MissingWeights, match=r"There is no file .*nowhere.*encoder.json"):
        OnnxEncoder("nowhere")


def test_devices(folder: Path) -> None:
    import onnxruntime

    assert OnnxEncoder(str(folder), "cpu").device == "cpu"
    for device in ("mps", "cpu:1", "cuda:x", "nonsense"):
        with pytest.raises(ConfigError, match="Use auto, cpu, cuda or cuda:N"):
            OnnxEncoder(str(folder), device)
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(ConfigError, match="Install onnxruntime-gpu"):
            OnnxEncoder(str(folder), "cuda")


def test_a_gallery_takes_queries_of_what_stands_in_for_its_encoder(
    folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    from img2loc.core.types import Item, Location
    from img2loc.gallery.metadata import table_of

    photos = [Photo(make_photo(f"{seed}.jpg", seed)) for seed in range(3)]
    items = [Item(photo.path.name, Location(n, n), photo) for n, photo in enumerate(photos)]
    rows = np.stack(list(Lite0("cpu").encode(photos)))  # type: ignore[arg-type]
    stamp = {"name": Lite0("cpu").name, "alias": "lite0", "table": {"kind": "lite0"}}
    gallery = Gallery.build(tmp_path / "g", [(rows, table_of(items))], encoder=stamp, rows=3)
    ((_, found),) = Retriever(OnnxEncoder(str(folder), "cpu"), gallery).neighbours(photos[:1], 1)
    assert not isinstance(found, Rejected)
    assert found.nearest[0].id == "0.jpg"
    change(folder, worst_cosine=0.9989)
    rough = OnnxEncoder(str(folder), "cpu")
    assert names_of(rough) == [rough.name]
    with pytest.raises(WrongEncoder, match="do not compare"):
        Retriever(rough, gallery)
    change(folder, worst_cosine=1.0, of=["another/1280d"])
    with pytest.raises(WrongEncoder, match="do not compare"):
        Retriever(OnnxEncoder(str(folder), "cpu"), gallery)
