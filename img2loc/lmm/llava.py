"""LLaVA and other open LMMs in this process, through transformers: nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import (
    ConfigError,
    MissingPackage,
    MissingWeights,
    UnreadablePhoto,
    first_line,
)
from img2loc.core.hub import HubFiles, folder_or_hub
from img2loc.core.types import Prompt, Reply, Usage


class Llava:
    """Any image-text-to-text model of transformers: LLaVA (1.5, NeXT, OneVision), Qwen-VL and more.

    `model` is a folder or a hub id whose files are in the cache. Deterministic unless `temperature`
    is set. `device_map` ("auto") spreads the model over devices; `quantization` "4bit" needs
    bitsandbytes and CUDA. The chat template is the processor's own. Raises MissingWeights,
    MissingPackage or ConfigError.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        device_map: str | None = None,
        quantization: Literal["4bit"] | None = None,
        max_tokens: int = 300,
        temperature: float = 0.0,
        seed: int = 0,
        image_side: int = 1024,
        batch_size: int = 1,
    ) -> None:
        if batch_size < 1 or max_tokens < 1:
            raise ConfigError(
                f"batch_size is {batch_size} and max_tokens {max_tokens}; both must be 1 or more."
            )
        from transformers import AutoModelForImageTextToText, AutoProcessor

        files = self.needs(model)
        folder = Path(model) if files is None else files.require().parent
        place = resolve_device(device)
        options: dict[str, Any] = {"dtype": resolve_dtype(dtype, place), "trust_remote_code": False}
        if device_map:
            options["device_map"] = device_map
        if quantization:
            options["quantization_config"] = _four_bits(options["dtype"])
            options.setdefault("device_map", "auto")
        try:
            self._processor: Any = AutoProcessor.from_pretrained(folder, trust_remote_code=False)
            network, loading = AutoModelForImageTextToText.from_pretrained(
                folder, output_loading_info=True, **options
            )
        except Exception as error:  # A torn file can make the loaders raise anything.
            reason = f"transformers cannot load {model!r}: {first_line(error)}"
            raise MissingWeights(reason) from error
        if missing := sorted(loading["missing_keys"]):
            raise MissingWeights(
                f"{model!r} lacks {len(missing)} of its weights ({missing[0]} …). Fetch the files"
                " again."
            )
        if getattr(self._processor, "chat_template", None) is None:
            raise ConfigError(
                f"{model!r} has no chat template; name a model that was tuned for chat."
            )
        self._processor.tokenizer.padding_side = "left"
        if self._processor.tokenizer.pad_token is None:
            self._processor.tokenizer.pad_token = self._processor.tokenizer.eos_token
        self._network: Any = network.eval() if "device_map" in options else network.eval().to(place)
        self._model = model
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self._side = image_side
        self._batch_size = batch_size

    @classmethod
    def endpoint(cls, **_: object) -> None:
        """Nowhere: it runs in this process."""

    @classmethod
    def needs(cls, model: str, **_: object) -> HubFiles | None:
        """What it takes from a hub, or None for a local folder.

        Raises ConfigError for a folder that is not there.
        """
        weights = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin")
        files = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")
        return folder_or_hub(model, weights, files)

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order, `batch_size` at a time."""
        upcoming = iter(prompts)
        while batch := list(islice(upcoming, self._batch_size)):
            images = [self._image(prompt) for prompt in batch]
            pairs = zip(batch, images, strict=True)
            readable = [pair for pair in pairs if not isinstance(pair[1], Reply)]
            answers = iter(self._answers(readable))
            for image in images:
                yield image if isinstance(image, Reply) else next(answers)

    def _image(self, prompt: Prompt) -> Any:
        """The photograph, or the reply where it cannot be read."""
        try:
            image = prompt.photo.image(self._side)
            image.thumbnail((self._side, self._side))
            return image
        except UnreadablePhoto as error:
            return self._failed(f"the photo cannot be read: {error}")

    def _answers(self, asked: list[tuple[Prompt, Any]]) -> list[Reply]:
        """The replies to a batch; one by one where it fails as a whole (memory, the template)."""
        try:
            return self._generate(asked) if asked else []
        except Exception as error:
            if len(asked) > 1:
                return [reply for one in asked for reply in self._answers([one])]
            reason = f"{type(error).__name__}: {first_line(error)}"
            return [self._failed(f"the model cannot answer: {reason}")]

    def _failed(self, detail: str) -> Reply:
        return Reply("", self._model, "failed", detail=detail)

    def _generate(self, asked: list[tuple[Prompt, Any]]) -> list[Reply]:
        import torch

        chats = []
        for prompt, image in asked:
            text = {"type": "text", "text": prompt.text}
            content = [{"type": "image", "image": image}, text]
            chats.append([{"role": "user", "content": content}])
        inputs = self._processor.apply_chat_template(
            chats,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self._network.device)
        for name, value in inputs.items():
            if value.is_floating_point():
                inputs[name] = value.to(self._network.dtype)
        sampling: dict[str, Any] = {"do_sample": self._temperature > 0}
        if self._temperature > 0:
            sampling["temperature"] = self._temperature
            torch.manual_seed(self._seed + 1_000_003 * asked[0][0].sample)
        else:
            # transformers would warn of a model's own sampling settings.
            sampling |= {"temperature": None, "top_p": None, "top_k": None}
        with torch.inference_mode():
            written = self._network.generate(**inputs, max_new_tokens=self._max_tokens, **sampling)
        length = inputs["input_ids"].shape[1]
        return [
            self._reply(tokens, int(mask.sum()))
            for tokens, mask in zip(written[:, length:], inputs["attention_mask"], strict=True)
        ]

    def _reply(self, tokens: Any, asked: int) -> Reply:
        tokenizer = self._processor.tokenizer
        eos = self._network.generation_config.eos_token_id
        eos = set(eos if isinstance(eos, list) else [eos]) | {tokenizer.eos_token_id}
        length = next((n for n, token in enumerate(tokens.tolist()) if token in eos), None)
        text = tokenizer.decode(tokens[:length], skip_special_tokens=True).strip()
        usage = Usage(asked, len(tokens) if length is None else length)
        if length is None and len(tokens) >= self._max_tokens:
            detail = f"cut off at {self._max_tokens} tokens; raise max_tokens"
            return Reply(text, self._model, "truncated", usage, detail)
        if not text:
            return Reply("", self._model, "failed", usage, "the reply is empty")
        return Reply(text, self._model, "answered", usage)


def _four_bits(dtype: Any) -> Any:
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise MissingPackage(
            "quantization = '4bit' needs bitsandbytes: pip install bitsandbytes"
        ) from error
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
