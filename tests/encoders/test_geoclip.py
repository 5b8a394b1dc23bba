"""GeoCLIP against its authors' package: towers, probabilities, weights, texts, ten crops."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.core.protocols import Deferred, Encoder, name_for, names_of
from img2loc.core.types import Embeddings, Location, Photo
from img2loc.data.points import PointsSource
from img2loc.data.recipes import find
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip import GeoClip
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.transformers import TransformersClip
from img2loc.gallery.build.pipeline import build
from tests.conftest import MakePhoto


@pytest.fixture(scope="session")
def clip_768(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small random CLIP with 768 features, as GeoCLIP's head takes them."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    folder = tmp_path_factory.mktemp("clip768")
    towers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(3)
    config = CLIPConfig(
        text_config={**towers, "vocab_size": 100, "max_position_embeddings": 16},
        vision_config={**towers, "image_size": 64, "patch_size": 16},
        projection_dim=768,
    )
    CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}
    CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def package(clip_768: Path) -> "geoclip.GeoCLIP":  # type: ignore[name-defined]  # noqa: F821
    """The authors' model, with the same small random CLIP."""
    import geoclip
    from transformers import CLIPImageProcessor

    with pytest.MonkeyPatch.context() as patch:
        # AutoProcessor wants a tokenizer, of which GeoCLIP makes no use.
        patch.setattr("geoclip.model.image_encoder.AutoProcessor", CLIPImageProcessor)
        return geoclip.GeoCLIP(clip_path=str(clip_768)).eval().requires_grad_(False)


@pytest.fixture(scope="session")
def ours(clip_768: Path) -> GeoClip:
    return GeoClip(
        TransformersClip(str(clip_768), device="cpu", dtype="float32", processor="torchvision")
    )


def points(rows: np.ndarray) -> list[Location]:
    return [Location(float(lat), float(lon)) for lat, lon in rows]


def worldwide(n: int) -> np.ndarray:
    random = np.random.default_rng(0)
    return np.stack(
        [np.degrees(np.arcsin(random.uniform(-1, 1, n))), random.uniform(-180, 180, n)], axis=1
    ).astype(np.float32)


def extreme() -> np.ndarray:
    """A thousand points: poles, antimeridian, equator and prime meridian among them."""
    random = np.random.default_rng(1)
    edges = [
        (90, 0),
        (-90, 0),
        (90, 180),
        (-90, -180),
        (0, 180),
        (0, -180),
        (0, 0),
        (90, -180),
        (-90, 180),
        (45, 180),
    ]
    lat, lon = random.uniform(-90, 90, 990), random.uniform(-180, 180, 990)
    lat[:250] = random.choice([-90.0, 90.0], 250)
    lon[250:500] = random.choice([-180.0, 180.0], 250)
    lat[500:750] = 0.0
    lon[750:] = 0.0
    return np.concatenate([np.array(edges, dtype=np.float64), np.stack([lat, lon], axis=1)]).astype(
        np.float32
    )


@pytest.mark.parametrize("rows", [worldwide(2_000), extreme()], ids=["random", "extreme"])
def test_the_location_tower_is_the_packages(ours: GeoClip, package, rows: np.ndarray) -> None:  # type: ignore[no-untyped-def]
    with torch.inference_mode():
        theirs = package.location_encoder(torch.from_numpy(rows))
        raw = geoclip_towers.load("package")[0].location_encoder(torch.from_numpy(rows))
    assert float((raw - theirs).abs().max()) <= 1e-5
    assert np.abs(ours.encode_points(points(rows)) - normalize(theirs, dim=1).numpy()).max() <= 1e-5


@pytest.mark.parametrize("name", ["gps-21k", pytest.param("gps-100k", marks=pytest.mark.slow)])
def test_fifty_photos_get_the_packages_top_ten(  # type: ignore[no-untyped-def]
    ours: GeoClip, package, name: str, tmp_path: Path, make_photo: MakePhoto
) -> None:
    recipe = find(name)
    gps = build(recipe.source(), ours, tmp_path / "g", alias="geoclip", table={}, of=recipe.of)
    points = torch.from_numpy(gps.metadata.locations().astype(np.float32))
    sizes = [(96, 64), (64, 96), (300, 200), (70, 70), (640, 480)]
    photos = [make_photo(f"{seed}.png", seed, sizes[seed % 5]) for seed in range(50)]
    with torch.inference_mode():
        package_gallery = normalize(package.location_encoder(points), dim=1)
        for path, row in zip(photos, ours.encode([Photo(path) for path in photos]), strict=True):
            # What the package's own predict computes, with the gallery embedded once.
            from PIL import Image

            features = normalize(
                package.image_encoder(package.image_encoder.preprocess_image(Image.open(path))),
                dim=1,
            )
            theirs = (package.logit_scale.exp() * features @ package_gallery.T).softmax(dim=-1)[0]
            best = torch.topk(theirs, 10)
            assert isinstance(row, np.ndarray)
            found = gps.search(row, 10, scale=ours.scale).nearest
            # By place, not by row: 5,877 rows of the authors' gallery repeat another.
            expected = points[best.indices].tolist()
            assert [(e.location.lat, e.location.lon) for e in found] == [
                pytest.approx(tuple(at), abs=1e-5) for at in expected
            ]
            assert [entry.probability for entry in found] == pytest.approx(
                best.values.tolist(), abs=1e-5
            )


def test_predict_itself_agrees(  # type: ignore[no-untyped-def]
    ours: GeoClip, package, tmp_path: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = worldwide(2000)
    monkeypatch.setitem(package._buffers, "gps_gallery", torch.from_numpy(rows))
    np.savetxt(
        tmp_path / "points.csv",
        rows.astype(np.float64),
        "%.17g",
        ",",
        header="LAT,LON",
        comments="",
    )
    gallery = build(
        PointsSource(tmp_path / "points.csv"),
        ours,
        tmp_path / "g",
        alias="geoclip",
        table={},
        of="points",
    )
    path = make_photo("one.png", 7)
    where, likely = package.predict(str(path), top_k=5)
    (row,) = ours.encode([Photo(path)])
    assert isinstance(row, np.ndarray)
    found = gallery.search(row, 5, scale=ours.scale).nearest
    assert [(e.location.lat, e.location.lon) for e in found] == [
        pytest.approx(tuple(at), abs=1e-5) for at in where.tolist()
    ]
    assert [entry.probability for entry in found] == pytest.approx(likely.tolist(), abs=1e-5)


def test_ten_crops_average_the_logits(
    clip_768: Path, package: Any, tmp_path: Path, make_photo: MakePhoto
) -> None:
    from torchvision.transforms.functional import ten_crop

    tower = TransformersClip(str(clip_768), device="cpu", dtype="float32", processor="torchvision")
    encoder = GeoClip(tower, views="ten-crop")
    assert encoder.name == GeoClip(tower).name  # one gallery serves both
    photo = Photo(
        make_photo("wide.png", 3, (146, 73))
    )  # its shorter side is 64 · 256 / 224 already
    rows = worldwide(500)
    (mean,) = encoder.encode([photo])
    assert isinstance(mean, np.ndarray)
    with torch.inference_mode():
        crops = torch.cat(
            [package.image_encoder.preprocess_image(crop) for crop in ten_crop(photo.image(), 64)]
        )
        theirs = package(crops, torch.from_numpy(rows)).mean(dim=0)
    ours = (encoder.scale or 0) * (encoder.encode_points(points(rows)) @ mean)
    assert np.abs(ours - theirs.numpy()).max() < 1e-3  # logits of up to 40


def test_ten_crops_need_a_tower_that_sees_corners(tmp_path: Path) -> None:
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=1280), tmp_path / "w", {})
    with pytest.raises(ConfigError, match="cuts off the edges"):
        GeoClip(Lite0(device="cpu"), weights=str(tmp_path / "w"), views="ten-crop")


def test_a_folder_of_ours_loads_here_and_there(tmp_path: Path, ours: GeoClip) -> None:
    from geoclip.model._hub import load_geoclip_weights, read_release
    from geoclip.model.GeoCLIP import GeoCLIP

    parts, _ = geoclip_towers.load("package")
    geoclip_towers.save(parts, tmp_path / "w", {"encoder": "x"})
    again, about = geoclip_towers.load(str(tmp_path / "w"))
    assert about["encoder"] == "x"
    assert all(
        torch.equal(tensor, again.state_dict()[name]) for name, tensor in parts.state_dict().items()
    )
    _, config, weights = read_release(tmp_path / "w", "geoclip-geolocation")
    assert config["sigma"] == [1.0, 16.0, 256.0]
    model = GeoCLIP.__new__(GeoCLIP)  # its constructor would make a ViT-L/14
    torch.nn.Module.__init__(model)
    from geoclip.model.location_encoder import LocationEncoder

    model.logit_scale = torch.nn.Parameter(torch.zeros([]))
    model.location_encoder = LocationEncoder(from_pretrained=False)
    model.image_encoder = torch.nn.Module()
    model.image_encoder.mlp = torch.nn.Sequential(
        torch.nn.Linear(768, 768), torch.nn.ReLU(), torch.nn.Linear(768, 512)
    )
    load_geoclip_weights(model, weights)
    assert float(model.logit_scale.detach().exp()) == pytest.approx(ours.scale)


def broken(folder: Path, fault: str) -> None:
    parts, _ = geoclip_towers.load("package")
    geoclip_towers.save(parts, folder, {})
    weights, config = folder / "model.safetensors", folder / "config.json"
    if fault == "torn":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif fault == "config":
        config.write_text("{")
    elif fault == "type":
        config.write_text('{"model_type": "clip"}')
    elif fault == "sigma":
        config.write_text(json.dumps({"model_type": "geoclip-geolocation", "sigma": [1, 16]}))
    elif fault == "words":
        config.write_text(json.dumps({"model_type": "geoclip-geolocation", "sigma": "all"}))
    elif fault == "empty":
        shutil.rmtree(folder)
        folder.mkdir()


@pytest.mark.parametrize("fault", ["torn", "config", "type", "sigma", "words", "empty"])
def test_broken_weights_are_a_sentence(tmp_path: Path, fault: str) -> None:
    broken(tmp_path / "w", fault)
    with pytest.raises(MissingWeights, match=str(tmp_path)):
        geoclip_towers.load(str(tmp_path / "w"))


def test_code_in_weights_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (tmp_path / "sprung",))  # type: ignore[return-value]

    for name in (
        "image_encoder_mlp_weights.pth",
        "location_encoder_weights.pth",
        "logit_scale_weights.pth",
    ):
        torch.save({"0.weight": Trap()}, tmp_path / name)
    with pytest.raises(MissingWeights):
        geoclip_towers.load(str(tmp_path))
    assert not (tmp_path / "sprung").exists()


def test_towers_that_do_not_fit_are_refused(
    tmp_path: Path, clip_768: Path, make_photo: MakePhoto
) -> None:
    with pytest.raises(ConfigError, match=r"768 features.*1280"):
        GeoClip(Lite0(device="cpu"))
    parts, _ = geoclip_towers.load("package")
    geoclip_towers.save(parts, tmp_path / "w", {"encoder": "another/768d"})
    with pytest.raises(ConfigError, match="belong to another/768d, not to 'transformers"):
        GeoClip(TransformersClip(str(clip_768), device="cpu"), weights=str(tmp_path / "w"))
    with pytest.raises(ConfigError, match="neither a folder nor a hub id"):
        geoclip_towers.load("nowhere")


def test_a_deferred_image_tower_is_loaded_by_the_first_photo(
    clip_768: Path, ours: GeoClip, make_photo: MakePhoto
) -> None:
    loaded: list[Encoder] = []

    def load() -> Encoder:
        loaded.append(
            TransformersClip(str(clip_768), device="cpu", dtype="float32", processor="torchvision")
        )
        return loaded[-1]

    encoder = GeoClip(Deferred(load, "cpu"))
    at, photo = [Location(48.8584, 2.2945)], Photo(make_photo())
    assert (encoder.encode_points(at) == ours.encode_points(at)).all()
    assert (encoder.dim, encoder.scale, encoder.device) == (512, ours.scale, "cpu")
    assert name_for(encoder, "points") == name_for(ours, "points")
    assert not loaded
    (row,), (expected,) = encoder.encode([photo]), ours.encode([photo])
    assert isinstance(row, np.ndarray)
    assert (row == expected).all()
    assert (name_for(encoder, "photos"), encoder.size) == (ours.name, 64)
    assert names_of(encoder) == [ours.name, ours.location_name]
    assert len(loaded) == 1
    wrong = GeoClip(Deferred(lambda: Lite0(device="cpu")))
    with pytest.raises(ConfigError, match=r"768 features.*1280"):
        wrong.encode([photo])


def test_texts_go_through_the_same_head(tiny_clip: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    parts = geoclip_towers.GeoClipParts(width=24)
    geoclip_towers.save(parts, tmp_path / "w", {})
    tower = TransformersClip(str(tiny_clip), device="cpu", dtype="float32", processor="torchvision")
    encoder = GeoClip(tower, weights=str(tmp_path / "w"))
    texts = ["a desert with red rocks", "ice"]
    with torch.inference_mode():
        expected = normalize(parts.image_encoder["mlp"](tower.text_features(texts)), dim=1)
    assert encoder.encode_texts(texts) == pytest.approx(expected.numpy(), abs=1e-5)
    width = torch.nn.Linear(1280, 1280).in_features
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=width), tmp_path / "lite0", {})
    with pytest.raises(ConfigError, match="reads no text"):
        GeoClip(Lite0(device="cpu"), weights=str(tmp_path / "lite0")).encode_texts(texts)


def test_any_csv_of_coordinates_is_a_gallery(ours: GeoClip, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text(
        "name;latitude;lng;title\n1;48.8584;2.2945;Paris\n2;0;0;Null Island\n3;95;0;nowhere\n"
    )
    source = PointsSource(tmp_path / "mine.csv")
    gallery = build(
        source, ours, tmp_path / "g", alias="geoclip", table={"kind": "geoclip"}, of="points"
    )
    assert (len(gallery), gallery.of, gallery.manifest["skipped"]) == (2, "points", 1)
    query: Embeddings = ours.encode_points([Location(48.8584, 2.2945)])
    found = gallery.search(query[0], 1).nearest[0]
    assert found.label == "Paris"
    assert found.similarity == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ConfigError, match="'lite0' cannot embed points"):
        build(
            source,
            Lite0(device="cpu"),
            tmp_path / "h",
            alias="lite0",
            table={"kind": "lite0"},
            of="points",
        )


def test_every_encoder_of_ours_may_be_a_tower(tmp_path: Path, make_photo: MakePhoto) -> None:
    geoclip_towers.save(geoclip_towers.GeoClipParts(width=1280), tmp_path / "w", {})
    tower = Lite0(device="cpu")
    (row,) = GeoClip(tower, weights=str(tmp_path / "w")).encode([Photo(make_photo())])
    assert isinstance(row, np.ndarray)
    assert row.shape == (512,)
