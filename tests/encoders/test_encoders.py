"""Our encoders against the libraries: tiny random models of the real classes, real EfficientNet."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.core.protocols import Encoder
from img2loc.core.types import Embeddings, Photo, Rejected
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.open_clip import OpenClip
from img2loc.encoders.timm import Timm
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.encoders.transformers import TransformersClip
from tests.conftest import Cli, MakePhoto

LEAST = {"float32": 0.9999, "bfloat16": 0.999}


@pytest.fixture
def photos(make_photo: MakePhoto) -> list[Photo]:
    sizes = [(96, 64), (64, 96), (300, 200), (33, 47), (224, 224)]
    return [Photo(make_photo(f"{seed}.jpg", seed, size)) for seed, size in enumerate(sizes * 2)]


def rows(encoder: Encoder, photos: list[Photo]) -> Embeddings:
    encoded = list(encoder.encode(photos))
    assert all(isinstance(row, np.ndarray) and row.dtype == np.float32 for row in encoded)
    return np.stack(encoded)  # type: ignore[arg-type]


def agree(ours: Embeddings, theirs: torch.Tensor, dtype: str) -> None:
    assert np.linalg.norm(ours, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert (ours * normalize(theirs.float(), dim=-1).numpy()).sum(axis=1).min() >= LEAST[dtype]


@pytest.mark.parametrize("dtype", LEAST)
def test_open_clip_rows_are_open_clips_own(
    tiny_open_clip: Path, photos: list[Photo], dtype: str
) -> None:
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_open_clip}")
    with torch.inference_mode():
        theirs = model.eval().encode_image(
            torch.stack([transform(photo.image()) for photo in photos])
        )
    encoder = OpenClip(f"local-dir:{tiny_open_clip}", dtype=dtype, device="cpu", batch_size=4)
    agree(rows(encoder, photos), theirs, dtype)
    assert encoder.dim == 24
    assert encoder.name.startswith("open_clip/24d-32px@")


@pytest.mark.parametrize("dtype", LEAST)
def test_transformers_rows_are_transformers_own(
    tiny_clip: Path, photos: list[Photo], dtype: str
) -> None:
    from transformers import AutoImageProcessor, CLIPVisionModelWithProjection

    model = CLIPVisionModelWithProjection.from_pretrained(tiny_clip, dtype=torch.float32).eval()
    processor = AutoImageProcessor.from_pretrained(tiny_clip, backend="pil")
    with torch.inference_mode():
        inputs = processor(images=[photo.image() for photo in photos], return_tensors="pt")
        theirs = model(**inputs).image_embeds
    encoder = TransformersClip(str(tiny_clip), dtype=dtype, device="cpu", batch_size=4)
    agree(rows(encoder, photos), theirs, dtype)
    assert encoder.dim == 24


@pytest.mark.parametrize("dtype", LEAST)
def test_timm_rows_are_timms_own(tmp_path: Path, photos: list[Photo], dtype: str) -> None:
    import timm
    from timm.data import create_transform, resolve_model_data_config

    torch.manual_seed(3)
    model = timm.create_model("test_vit", pretrained=False).eval()
    weights = tmp_path / "test_vit.pth"
    torch.save(model.state_dict(), weights)
    transform = create_transform(**resolve_model_data_config(model), is_training=False)
    with torch.inference_mode():
        pixels = torch.stack([transform(photo.image()) for photo in photos])
        theirs = model.forward_head(model.forward_features(pixels), pre_logits=True)
    encoder = Timm("test_vit", str(weights), dtype=dtype, device="cpu", batch_size=4)
    agree(rows(encoder, photos), theirs, dtype)


@pytest.fixture(scope="module")
def lite0() -> Lite0:
    return Lite0(device="cpu")


def encoders(lite0: Lite0, tiny_open_clip: Path, tiny_clip: Path) -> Iterator[Encoder]:
    yield lite0
    yield OpenClip(f"local-dir:{tiny_open_clip}", device="cpu", dtype="float32")
    yield TransformersClip(str(tiny_clip), device="cpu", dtype="float32")


def test_batch_equals_singles_in_order(
    lite0: Lite0, tiny_open_clip: Path, tiny_clip: Path, photos: list[Photo]
) -> None:
    for encoder in encoders(lite0, tiny_open_clip, tiny_clip):
        together = rows(encoder, photos)
        singles = np.concatenate([rows(encoder, [photo]) for photo in photos])
        assert (together * singles).sum(axis=1).min() >= 0.9999
        assert (together[:5] * together[5:]).sum(
            axis=1
        ).max() < 0.99999  # different photographs do differ


def test_a_broken_photo_keeps_its_place(lite0: Lite0, photos: list[Photo], tmp_path: Path) -> None:
    mixed = [photos[0], Photo(tmp_path / "absent.jpg"), photos[1], Photo(Path("-"), b"junk")]
    first, absent, second, junk = lite0.encode(mixed)
    assert isinstance(absent, Rejected)
    assert absent.reason == "no such file"
    assert isinstance(junk, Rejected)
    assert "not an image" in junk.reason
    assert isinstance(first, np.ndarray)
    assert isinstance(second, np.ndarray)
    assert np.dot(first, rows(lite0, photos[:1])[0]) > 0.9999
    assert list(lite0.encode([])) == []


def test_a_large_jpeg_decoded_at_a_fraction_gives_nearly_the_same_vector(
    lite0: Lite0, tmp_path: Path
) -> None:
    """The photograph of the package geoclip, enlarged fourfold; the oracle decodes all of it."""
    from importlib.util import find_spec

    from PIL import Image

    package = find_spec("geoclip")  # Importing it warns, and takes seconds.
    assert package is not None
    assert package.submodule_search_locations is not None
    picture = Image.open(
        Path(package.submodule_search_locations[0]) / "images" / "Kauai.png"
    ).convert("RGB")
    large = picture.resize((2048, 1536), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=92)
    photo = Photo(tmp_path / "large.jpg")
    assert photo.image(shorter=560).size == (1024, 768)
    assert photo.image().size == (2048, 1536)
    whole = lite0.features(lite0.prepare(photo.image())[None])[0]
    assert 0.999 < rows(lite0, [photo])[0] @ whole / np.linalg.norm(whole) <= 1.00001


def test_encoding_is_lazy(lite0: Lite0, photos: list[Photo]) -> None:
    taken = 0

    def endless() -> Iterator[Photo]:
        nonlocal taken
        while True:
            taken += 1
            yield photos[0]

    stream = lite0.encode(endless())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert taken <= 3 * 8


def test_lite0_sees_what_its_authors_model_sees(lite0: Lite0, landmarks: Path) -> None:
    """Two photographs of the Taj Mahal are nearer to each other than to Petra: real weights."""
    import csv

    with (landmarks / "queries.csv").open() as file:
        chosen = [row for row in csv.DictReader(file) if row["label"] in ("taj_mahal", "petra")]
    vectors = rows(lite0, [Photo(landmarks / row["file"]) for row in chosen])
    same = np.array([[a["label"] == b["label"] for a in chosen] for b in chosen])
    similarity = vectors @ vectors.T
    inside = similarity[same & ~np.eye(len(chosen), dtype=bool)].mean()
    assert inside > similarity[~same].mean() + 0.1


def test_the_name_follows_the_weights_not_their_place(tiny_clip: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    moved = tmp_path / "moved"
    shutil.copytree(tiny_clip, moved)
    first = TransformersClip(str(tiny_clip), device="cpu", dtype="float32")
    assert TransformersClip(str(moved), device="cpu", dtype="bfloat16").name == first.name
    weights = load_file(moved / "model.safetensors")
    weights["visual_projection.weight"][0, 0] += 1
    save_file(weights, moved / "model.safetensors", {"format": "pt"})
    assert TransformersClip(str(moved), device="cpu", dtype="float32").name != first.name


def test_never_random_weights_in_silence(
    tiny_clip: Path, tiny_open_clip: Path, tmp_path: Path
) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    partial = tmp_path / "partial"
    shutil.copytree(tiny_clip, partial)
    weights = load_file(partial / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, partial / "model.safetensors", {"format": "pt"})
    with pytest.raises(MissingWeights, match=r"lacks 1 of its weights \(visual_projection.weight"):
        TransformersClip(str(partial))
    empty = tmp_path / "empty"
    shutil.copytree(tiny_open_clip, empty)
    (empty / "open_clip_model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="cannot load"):
        OpenClip(f"local-dir:{empty}")
    (empty / "nothing.pth").write_bytes(b"junk")
    with pytest.raises(ConfigError, match="no weights file"):
        Timm("test_vit", str(empty / "absent.pth"))
    with pytest.raises(MissingWeights, match="cannot load"):
        Timm("test_vit", str(empty / "nothing.pth"))
    import timm

    whole = timm.create_model("test_vit", pretrained=False).state_dict()
    for kept in (
        {},
        {name: tensor for name, tensor in whole.items() if not name.startswith("blocks.1")},
    ):
        torch.save(kept, empty / "partial.pth")
        with pytest.raises(MissingWeights, match="cannot load"):
            Timm("test_vit", str(empty / "partial.pth"))


def test_the_same_weights_in_another_architecture_are_another_encoder(
    tiny_open_clip: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    import json
    import shutil

    changes: list[tuple[Path, str, Callable[[Any], None]]] = [
        (
            tiny_open_clip,
            "open_clip_config.json",
            lambda config: config["model_cfg"].update(quick_gelu=False),
        ),
        (
            tiny_open_clip,
            "open_clip_config.json",
            lambda config: config["model_cfg"]["vision_cfg"].update(head_width=64),
        ),
        (
            tiny_clip,
            "config.json",
            lambda config: config["vision_config"].update(hidden_act="gelu"),
        ),
    ]
    for source, file, change in changes:
        other = tmp_path / "other"
        shutil.copytree(source, other)
        config = json.loads((other / file).read_text())
        change(config)
        (other / file).write_text(json.dumps(config))

        def made(folder: Path, file: str = file) -> TorchEncoder:
            return (
                OpenClip(f"local-dir:{folder}")
                if file.startswith("open_clip")
                else TransformersClip(str(folder))
            )

        assert made(other).name != made(source).name
        shutil.rmtree(other)


@pytest.mark.parametrize(
    ("make", "arguments", "error", "words"),
    [
        (
            OpenClip,
            {"model": "ViT-L-14-quickgelu", "pretrained": "openai"},
            MissingWeights,
            "timm/vit_large_patch14_clip_224.openai",
        ),
        (OpenClip, {"model": "hf-hub:org/model"}, MissingWeights, "org/model"),
        (
            OpenClip,
            {"model": "ViT-L-14", "pretrained": "nonsense"},
            ConfigError,
            "no such file or tag",
        ),
        (OpenClip, {"model": "ViT-L-14"}, ConfigError, "no such file or tag"),
        (
            OpenClip,
            {"model": "ViT-Nonsense", "pretrained": "openai"},
            ConfigError,
            "knows no model",
        ),
        (
            TransformersClip,
            {"model": "openai/clip-vit-large-patch14"},
            MissingWeights,
            "openai/clip-vit-large-patch14",
        ),
        (TransformersClip, {"model": "./absent"}, ConfigError, "neither a folder nor a hub id"),
        (
            Timm,
            {"model": "vit_base_patch14_dinov2.lvd142m"},
            MissingWeights,
            "timm/vit_base_patch14_dinov2.lvd142m",
        ),
        (Timm, {"model": "nonsense"}, ConfigError, "no weights for "),
    ],
)
def test_what_is_not_here_is_named(
    make: type, arguments: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(**arguments)


def test_a_checkpoint_file_with_a_built_in_architecture(
    tmp_path: Path, photos: list[Photo]
) -> None:
    import open_clip

    torch.manual_seed(4)
    model, _, transform = open_clip.create_model_and_transforms("RN50-quickgelu")
    checkpoint = tmp_path / "rn50.pt"
    torch.save(model.state_dict(), checkpoint)
    with torch.inference_mode():
        theirs = model.eval().encode_image(
            torch.stack([transform(photo.image()) for photo in photos[:2]])
        )
    encoder = OpenClip("RN50-quickgelu", str(checkpoint), device="cpu", dtype="float32")
    agree(rows(encoder, photos[:2]), theirs, "float32")


def test_a_tag_brings_its_activation_and_preprocessing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`ViT-L-14` with OpenAI's weights gets QuickGELU although its name does not say so."""
    from img2loc.core import hub
    from img2loc.encoders import open_clip as module

    weights = tmp_path / "open_clip_model.safetensors"
    weights.touch()
    monkeypatch.setattr(hub.HubFiles, "cached", lambda self: weights)
    name, options = module._resolve("ViT-L-14", "openai")
    assert (name, options["force_quick_gelu"], options["pretrained"]) == (
        "ViT-L-14",
        True,
        str(weights),
    )
    assert options["image_interpolation"] == "bicubic"
    _, laion = module._resolve("ViT-B-32", "laion2b_s34b_b79k")
    assert laion["force_quick_gelu"] is False


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA GPU goes before Apple's")
def test_auto_is_apples_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, run: Cli) -> None:
    """What torch says of the machine is all that is changed: no photo is encoded there."""
    assert resolve_device("auto") == "cpu"
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert resolve_device("auto") == "mps"
    assert resolve_dtype("auto", "mps") == torch.float32
    _, out, _ = run("doctor", "--all")
    assert "mps: Apple's GPU" in out
    assert "auto means mps, float32" in out


def test_dtypes_and_devices() -> None:
    assert resolve_dtype("bf16", "cpu") == torch.bfloat16
    assert resolve_dtype("auto", "cpu") in (torch.float32, torch.bfloat16)
    with pytest.raises(ConfigError, match="no dtype 'half'"):
        resolve_dtype("half", "cpu")
    with pytest.raises(
        ConfigError, match=r"device 'nonsense' .* Use auto, cpu, cuda, cuda:N .* or mps"
    ):
        resolve_device("nonsense")
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Lite0(batch_size=0)


TEXTS = ["a desert with red rocks", "Paris", "A Street View photo in Chad."]


def test_transformers_texts_are_transformers_own(tiny_clip: Path) -> None:
    from transformers import AutoTokenizer, CLIPTextModelWithProjection

    model = CLIPTextModelWithProjection.from_pretrained(tiny_clip, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny_clip)
    with torch.inference_mode():
        theirs = torch.cat(
            [model(**tokenizer([text], return_tensors="pt")).text_embeds for text in TEXTS]
        )
    encoder = TransformersClip(str(tiny_clip), dtype="float32", device="cpu", batch_size=2)
    agree(encoder.encode_texts(TEXTS), theirs, "float32")
    assert encoder.encode_texts([]).shape == (0, 24)
    assert encoder.encode_texts(["long " * 500]).shape == (1, 24)
    assert encoder.scale == pytest.approx(1 / 0.07, rel=1e-3)  # CLIP's initial temperature


def test_open_clip_texts_are_open_clips_own(tiny_open_clip: Path) -> None:
    import open_clip

    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{tiny_open_clip}")
    with torch.inference_mode():
        theirs = model.eval().encode_text(
            open_clip.get_tokenizer(f"local-dir:{tiny_open_clip}")(TEXTS)
        )
    encoder = OpenClip(f"local-dir:{tiny_open_clip}", dtype="float32", device="cpu", batch_size=2)
    agree(encoder.encode_texts(TEXTS), theirs, "float32")
    assert encoder.scale == pytest.approx(1 / 0.07, rel=1e-3)


def test_a_model_without_a_tokenizer_says_so(tiny_clip: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(
        tiny_clip, tmp_path / "mute", ignore=shutil.ignore_patterns("token*", "special*")
    )
    with pytest.raises(MissingWeights, match="tokenizer"):
        TransformersClip(str(tmp_path / "mute"), device="cpu").encode_texts(TEXTS)


def test_the_text_side_is_part_of_the_name(tiny_clip: Path, tmp_path: Path) -> None:
    import json
    import shutil

    name = TransformersClip(str(tiny_clip), device="cpu").name
    shutil.copytree(tiny_clip, tmp_path / "gelu")
    config = json.loads((tmp_path / "gelu" / "config.json").read_text())
    config["text_config"]["hidden_act"] = "gelu"
    (tmp_path / "gelu" / "config.json").write_text(json.dumps(config))
    shutil.copytree(tiny_clip, tmp_path / "words")
    words = tmp_path / "words" / "tokenizer.json"
    words.write_text(words.read_text().replace('"a": 13', '"a": 14').replace('"b": 14', '"b": 13'))
    assert (
        len(
            {
                name,
                *(
                    TransformersClip(str(tmp_path / folder), device="cpu").name
                    for folder in ("gelu", "words")
                ),
            }
        )
        == 3
    )


def test_siglip_reads_a_text_the_same_in_any_company(tiny_clip: Path, tmp_path: Path) -> None:
    import shutil

    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    folder = tmp_path / "siglip"
    towers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(0)
    text = {**towers, "vocab_size": 200, "max_position_embeddings": 64, "projection_size": 32}
    SiglipModel(
        SiglipConfig(text_config=text, vision_config={**towers, "image_size": 32, "patch_size": 8})
    ).save_pretrained(folder)
    SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    for file in tiny_clip.glob("token*"):
        shutil.copy(file, folder)
    encoder = TransformersClip(str(folder), device="cpu", dtype="float32")
    together = encoder.encode_texts(["Paris", "a much longer text than that one"])
    assert encoder.encode_texts(["Paris"])[0] == pytest.approx(together[0], abs=1e-5)


def test_a_file_here_does_not_take_the_place_of_a_known_tag() -> None:
    Path("openai").write_bytes(b"weights of a stranger")
    needed = OpenClip.needs("ViT-L-14-quickgelu", "openai")
    assert needed is not None
    assert needed.repo == "timm/vit_large_patch14_clip_224.openai"
    assert OpenClip.needs("ViT-L-14-quickgelu", str(Path("openai").absolute())) is None
