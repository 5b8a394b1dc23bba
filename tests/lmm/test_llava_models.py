"""Tiny random LMMs of three real classes whose generation settings are as bad as they come."""

import gc
import json
import shutil
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from img2loc.core.errors import BackendError, ConfigError, MissingPackage
from img2loc.core.types import Photo, Prompt, Reply
from img2loc.lmm.llava import Llava, _Sampling
from img2loc.lmm.repeated import Repeated
from tests.conftest import MakePhoto, character_tokenizer

TEMPLATE = (
    "{%% for message in messages %%}{%% for part in message['content'] %%}"
    "{%% if part['type'] == 'image' %%}%s{%% else %%}{{ part['text'] }}{%% endif %%}"
    "{%% endfor %%}\n{%% endfor %%}"
)
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
}
TEXT = {**TOWER, "num_key_value_heads": 2, "max_position_embeddings": 4096}
ENDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
HOSTILE = {
    **ENDS,
    **{"do_sample": True, "temperature": 0.1, "top_k": 1, "top_p": 0.001, "min_p": 0.9},
    **{"repetition_penalty": 1.5, "no_repeat_ngram_size": 1, "num_beams": 3},
}
WORDS = "Between 48.8584, 2.2945 and 51.5007, -0.1246: where?"


def llava_onevision(folder: Path) -> None:
    from transformers import (
        LlavaOnevisionConfig,
        LlavaOnevisionForConditionalGeneration,
        LlavaOnevisionImageProcessor,
        LlavaOnevisionProcessor,
        LlavaOnevisionVideoProcessor,
        Qwen2Config,
        SiglipVisionConfig,
    )

    tokenizer = character_tokenizer("<image>", "<video>")
    grids = [[32, 32], [32, 64], [64, 32]]
    LlavaOnevisionProcessor(
        LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=grids),
        tokenizer,
        LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE % "<image>",
    ).save_pretrained(folder)
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            **TOWER, image_size=32, patch_size=8, vision_use_head=False
        ),
        text_config=Qwen2Config(**TEXT, **ENDS, vocab_size=len(tokenizer)),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=grids,
    )
    LlavaOnevisionForConditionalGeneration(config).save_pretrained(folder)


def qwen_vl(folder: Path) -> None:
    from transformers import (
        Qwen2_5_VLConfig,
        Qwen2_5_VLForConditionalGeneration,
        Qwen2_5_VLProcessor,
        Qwen2VLImageProcessor,
        Qwen2VLVideoProcessor,
    )

    marks = ("<|vision_start|>", "<|image_pad|>", "<|video_pad|>", "<|vision_end|>")
    tokenizer = character_tokenizer(*marks)
    start, image, video, end = tokenizer.convert_tokens_to_ids(list(marks))
    size = {"shortest_edge": 32 * 32, "longest_edge": 64 * 64}
    Qwen2_5_VLProcessor(
        Qwen2VLImageProcessor(size=size, patch_size=8),
        tokenizer,
        Qwen2VLVideoProcessor(size=size, patch_size=8),
        chat_template=TEMPLATE % "<|vision_start|><|image_pad|><|vision_end|>",
    ).save_pretrained(folder)
    config = Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            **ENDS,
            "vocab_size": len(tokenizer),
            "rope_parameters": {
                **{"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
            },
        },
        vision_config={
            **{"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2},
            **{"patch_size": 8, "window_size": 32, "out_hidden_size": 32},
            "fullatt_block_indexes": [1],
        },
        vision_start_token_id=start,
        image_token_id=image,
        video_token_id=video,
        vision_end_token_id=end,
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(folder)


Variant = Callable[..., Path]


@pytest.fixture(scope="module", params=["llava", "llava-onevision", "qwen2.5-vl"])
def variant(
    request: pytest.FixtureRequest, tiny_llava: Path, tmp_path_factory: pytest.TempPathFactory
) -> Variant:
    """Make a folder of the same weights with other generation settings."""
    import torch

    weights = tmp_path_factory.mktemp(request.param)
    torch.manual_seed(7)
    if request.param == "llava":
        shutil.copytree(tiny_llava, weights, dirs_exist_ok=True)
    else:
        {"llava-onevision": llava_onevision, "qwen2.5-vl": qwen_vl}[request.param](weights)

    def make(**settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("variant")
        shutil.copytree(weights, folder, dirs_exist_ok=True)
        (folder / "generation_config.json").write_text(json.dumps(settings))
        return folder

    return make


def load(folder: Path, **keys: Any) -> Llava:
    return Llava(str(folder), device="cpu", dtype="float32", **{"max_tokens": 8, **keys})


def texts(model: Llava, prompts: list[Prompt]) -> list[str]:
    replies = list(model.ask(prompts))
    assert not [reply.detail for reply in replies if reply.status == "failed"]
    return [reply.text for reply in replies]


def test_samples_differ_whatever_the_model_says_and_hang_on_no_batch(
    variant: Variant, make_photo: MakePhoto
) -> None:
    photo, folder = Photo(make_photo()), variant(**HOSTILE)
    prompts = [Prompt(WORDS, photo, sample) for sample in range(5)]
    alone = texts(load(folder, temperature=1.0), prompts)
    assert len(set(alone)) == 5
    together = load(folder, temperature=1.0, batch_size=5)
    assert texts(together, prompts) == alone
    assert texts(together, prompts[::-1]) == alone[::-1]
    assert texts(load(folder, temperature=1.0, seed=1), prompts) != alone
    again = [reply.text for reply in Repeated(load(folder, temperature=1.0), 1).ask(prompts)]
    assert not set(again) & set(alone)


def test_greedy_decoding_penalizes_no_digit_of_the_prompt(
    variant: Variant, make_photo: MakePhoto
) -> None:
    prompts = [Prompt(WORDS, Photo(make_photo(f"{seed}.jpg", seed))) for seed in range(3)]
    plain = texts(load(variant(**ENDS)), prompts)
    assert texts(load(variant(**HOSTILE), batch_size=3), prompts) == plain


def test_samples_follow_the_softmax() -> None:
    import torch

    scores = torch.tensor([[0.0, 1.0, 3.0, -torch.inf]])
    drawn = _Sampling(2.0, range(4000), "cpu")(None, scores.expand(4000, -1)).argmax(-1)
    shares = torch.bincount(drawn, minlength=4) / 4000
    # Three standard deviations of a share are 0.024 or less.
    assert torch.allclose(shares, torch.softmax(scores[0] / 2.0, -1), atol=0.024)


@pytest.fixture
def full_memory(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[Any]"]:
    """Batches of more than one run out of memory; what they held, as weak references."""
    import torch
    from transformers import LlamaModel, Qwen2Model
    from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLTextModel

    held: list[weakref.ref[Any]] = []
    for kind in (LlamaModel, Qwen2Model, Qwen2_5_VLTextModel):
        forward = kind.forward

        def limited(self: Any, *args: Any, forward: Any = forward, **kwargs: Any) -> Any:
            embeddings = kwargs["inputs_embeds"]
            if len(embeddings) > 1:
                held.append(weakref.ref(embeddings))
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            assert all(reference() is None for reference in held)
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(kind, "forward", limited)
    return held


def test_a_batch_out_of_memory_is_let_go_before_its_prompts_are_asked_singly(
    variant: Variant, make_photo: MakePhoto, full_memory: list[Any]
) -> None:
    model = load(variant(**ENDS), batch_size=4)
    gc.disable()
    try:
        prompts = [Prompt("Where?", Photo(make_photo(f"{n}.jpg", n))) for n in range(6)]
        assert len(texts(model, prompts)) == 6
    finally:
        gc.enable()
    assert len(full_memory) == 2


def test_a_gpu_that_computes_nothing_more_stops_the_run(
    tiny_llava: Path, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    model = load(tiny_llava)

    def asserts(*_: object, **__: object) -> None:
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(model._network, "generate", asserts)
    (reply,) = model.ask([Prompt("Where?", Photo(make_photo()))])  # This device goes on.
    assert reply == Reply(
        "",
        str(tiny_llava),
        "failed",
        detail="the model cannot answer: RuntimeError: CUDA error: device-side assert triggered",
    )
    monkeypatch.setattr(torch.cuda, "empty_cache", asserts)
    with pytest.raises(BackendError, match=r"computes nothing more .*device-side assert"):
        list(model.ask([Prompt("Where?", Photo(make_photo()))]))


def test_a_model_too_large_for_the_gpu_is_no_fault_of_ours(
    tiny_llava: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from transformers import LlavaForConditionalGeneration

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 172.00 MiB.")

    monkeypatch.setattr(LlavaForConditionalGeneration, "to", full)
    with pytest.raises(ConfigError, match=r"does not fit into the memory of cpu .*4bit"):
        load(tiny_llava)


@pytest.mark.parametrize(
    ("keys", "absent", "remedy"),
    [
        ({"device_map": "auto"}, "accelerate", r"pip install 'img2loc\[models\]'"),
        ({"quantization": "4bit"}, "accelerate", r"pip install 'img2loc\[models\]'"),
        ({"quantization": "4bit"}, "bitsandbytes", "pip install bitsandbytes"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    tiny_llava: Path, monkeypatch: pytest.MonkeyPatch, keys: Any, absent: str, remedy: str
) -> None:
    from img2loc.core import extras

    monkeypatch.setattr(extras, "find_spec", lambda module: None if module == absent else module)
    with pytest.raises(MissingPackage, match=f"{absent}, which is not installed: {remedy}"):
        load(tiny_llava, **keys)


def test_a_padded_photo_keeps_its_edges(tiny_llava: Path, make_photo: MakePhoto) -> None:
    """LLaVA-1.5's processor crops the middle square; LLaVA itself was trained with padding."""
    model = load(tiny_llava, pad_to_square=True)
    image = model._image(Prompt("Where?", Photo(make_photo(size=(96, 64)))))
    assert image.size == (96, 96)
    mean = model._processor.image_processor.image_mean
    assert image.getpixel((0, 0)) == image.getpixel((95, 95)) == tuple(int(255 * m) for m in mean)
    assert load(tiny_llava)._image(Prompt("Where?", Photo(make_photo()))).size == (96, 64)
