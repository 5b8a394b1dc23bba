"""Fixtures: isolation from the user's machine, photographs, tiny models of the real classes."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Set before any library reads them: no hub is asked, and the user's cache is not read.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="img2loc-hf-")
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads cost more than they give with models this small; and sums are the same on every machine.
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
from PIL import Image

from img2loc.cli import _run
from img2loc.config.config import user_file
from img2loc.core.types import Item, Location, Photo
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from tests.server import ChatServer, chat
from tests.toys import PixelEncoder

__all__ = ["ChatServer", "chat"]
atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No keys, no configuration, no galleries of the user's; the working directory is empty."""
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    monkeypatch.delenv("IMG2LOC_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("IMG2LOC_HOME", str(tmp_path / "home"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def configure(text: str) -> Path:
    """Write the user's own configuration."""
    file = user_file()
    assert file is not None
    assert file.is_relative_to(os.environ["XDG_CONFIG_HOME"])  # Not the real one.
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def kill_when(there: Callable[[], object], command: Sequence[object], **options: Any) -> None:
    """Run a command in the project's root, and SIGKILL it once `there()` is true."""
    process = subprocess.Popen(
        list(map(str, command)), cwd=Path(__file__).resolve().parents[1], **options
    )
    while not there():
        assert process.poll() is None  # It must not end by itself.
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture
def landmarks() -> Path:
    """The folder of real photographs; skips the test where there is none."""
    folder = SHARED / "landmarks"
    if not folder.is_dir():
        pytest.skip(f"the real photographs are not at {folder}")
    return folder


MakePhoto = Callable[..., Path]
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command line in this process; its exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["img2loc", *map(str, words)])
        code = _run(debug=False)
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture
def make_photo(tmp_path: Path) -> MakePhoto:
    """Make a JPEG with content of its own: a smooth random field, the same for the same seed."""

    def make(
        name: str = "photo.jpg", seed: int = 0, size: tuple[int, int] = (96, 64), **save: Any
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, size).save(path, **save)
        return path

    return make


def picture(seed: int = 0, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """A smooth random field in colour."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def tiny_open_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of open_clip's own class, saved as a local-dir folder."""
    import json

    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip")
    model_cfg = {
        "embed_dim": 24,
        "quick_gelu": True,
        "vision_cfg": {
            "image_size": 32,
            "layers": 2,
            "width": 64,
            "head_width": 32,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 77,
            "vocab_size": 49408,
            "width": 32,
            "heads": 2,
            "layers": 1,
        },
    }
    preprocess = {
        "mean": [0.48145466, 0.4578275, 0.40821073],
        "std": [0.26862954, 0.26130258, 0.27577711],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    torch.manual_seed(1)
    model = open_clip.CLIP(**json.loads(json.dumps(model_cfg)))
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": model_cfg, "preprocess_cfg": preprocess})
    )
    return folder


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP of transformers' own class and its character tokenizer, saved as a folder."""
    import string

    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("clip")
    vocabulary = {
        token: number
        for number, token in enumerate(["<pad>", "<unk>", "<s>", *string.printable, "</s>"])
    }
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    ends = {token: vocabulary[token] for token in ("<s>", "</s>")}
    characters.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=list(ends.items())
    )
    PreTrainedTokenizerFast(
        tokenizer_object=characters,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
    ).save_pretrained(folder)
    towers = {
        "projection_dim": 24,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    config = CLIPConfig(
        text_config={
            **towers,
            "vocab_size": len(vocabulary),
            "max_position_embeddings": 64,
            "bos_token_id": ends["<s>"],
            "eos_token_id": ends["</s>"],
            "pad_token_id": 0,
        },
        vision_config={**towers, "image_size": 32, "patch_size": 8},
        projection_dim=24,
    )
    torch.manual_seed(2)
    CLIPModel(config).save_pretrained(folder)
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    CLIPImageProcessor(**size).save_pretrained(folder)
    return folder


def character_tokenizer(*special: str) -> Any:
    """A tokenizer of printable ASCII and special tokens; 1 begins, 2 ends and 3 pads."""
    import string

    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<unk>", "<s>", "</s>", "<pad>", *special, *string.printable]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    characters = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    characters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=characters,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        additional_special_tokens=list(special),
    )


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA of transformers' own classes, saved as a folder with its processor."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    folder = tmp_path_factory.mktemp("llava")
    tokenizer = character_tokenizer("<image>")
    template = (
        "{% for message in messages %}{{ message['role'] }}: {% for part in message['content'] %}"
        "{% if part['type'] in ('image', 'image_url') %}<image>{% else %}{{ part['text'] }}"
        "{% endif %}{% endfor %}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
    )
    size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(**size),
        tokenizer=tokenizer,
        patch_size=8,
        chat_template=template,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
    towers = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    torch.manual_seed(5)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(**towers, image_size=32, patch_size=8),
            text_config=LlamaConfig(
                **towers,
                vocab_size=len(tokenizer),
                max_position_embeddings=4096,
                bos_token_id=1,
                eos_token_id=2,
                pad_token_id=3,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        )
    )
    model.generation_config.eos_token_id = 2
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def toy_photos(make_photo: MakePhoto) -> list[Path]:
    return [make_photo(f"{seed}.jpg", seed) for seed in range(30)]


@pytest.fixture
def gallery(toy_photos: list[Path], tmp_path: Path) -> Gallery:
    encoder = PixelEncoder()
    items = [
        Item(photo.name, Location(seed, seed * 2), Photo(photo))
        for seed, photo in enumerate(toy_photos)
    ]
    rows = np.stack(list(encoder.encode(item.photo for item in items)))  # type: ignore[arg-type]
    stamp = {"name": encoder.name, "alias": "toy", "table": {}}
    return Gallery.build(tmp_path / "g", [(rows, table_of(items))], encoder=stamp, rows=len(items))
