"""LLaVA and other open LMMs in this process, through transformers: nothing leaves the machine."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from img2loc.core import extras
from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import (
    BackendError,
    ConfigError,
    MissingWeights,
    UnreadablePhoto,
    first_line,
)
from img2loc.core.hub import HubFiles, folder_or_hub
from img2loc.core.types import Prompt, Reply, Usage


class Llava:
    """Any image-text-to-text model of transformers: LLaVA (1.5, NeXT, OneVision), Qwen-VL and more.

    `model` is a folder or a hub id whose files are in the cache. Decoding is greedy, or draws from
    softmax(logits / `temperature`), whatever the model's own generation_config.json says; a draw
    depends on `seed` and its prompt alone, not on the batch. `device_map` ("auto") spreads the
    model over devices; `quantization` "4bit" needs bitsandbytes and CUDA. `pad_to_square` pads
    photos with the mean color, as LLaVA-1.5 was trained (Liu et al. 2024, section 3); without it,
    processors such as LLaVA-1.5's crop the middle square. The chat template is the processor's own.
    Raises MissingWeights, MissingPackage or ConfigError.
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
        pad_to_square: bool = False,
        batch_size: int = 1,
    ) -> None:
        if batch_size < 1 or max_tokens < 1:
            raise ConfigError(
                f"batch_size is {batch_size} and max_tokens {max_tokens}; both must be 1 or more."
            )
        if device_map:
            extras.require("device_map", "accelerate")
        if quantization:
            extras.require("quantization", "accelerate", "bitsandbytes")
        import torch
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
            self._network: Any = network if "device_map" in options else network.to(place)
        except torch.OutOfMemoryError as error:
            raise ConfigError(
                f"{model!r} does not fit into the memory of {place} ({first_line(error)}). Set"
                ' quantization = "4bit", device_map = "auto" or device = "cpu", or name a'
                " smaller model."
            ) from error
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
        tokenizer = self._processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        self._network.eval()
        self._ends = _ends(self._network.generation_config, tokenizer)
        self._network.generation_config = _greedy(
            self._network.generation_config, sorted(self._ends), tokenizer.pad_token_id
        )
        self._model = model
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._seed = seed
        self._side = image_side
        self._pad_to_square = pad_to_square
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
            return self._padded(image) if self._pad_to_square else image
        except UnreadablePhoto as error:
            return self._failed(f"the photo cannot be read: {error}")

    def _padded(self, image: Any) -> Any:
        from PIL import ImageOps

        mean = getattr(self._processor.image_processor, "image_mean", None) or [0.5] * 3
        side = max(image.size)
        return ImageOps.pad(image, (side, side), color=tuple(int(255 * value) for value in mean))

    def _answers(self, asked: list[tuple[Prompt, Any]]) -> list[Reply]:
        """The replies to a batch; one by one where it fails as a whole (memory, the template)."""
        try:
            return self._generate(asked) if asked else []
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
        # Not in the handler: the error's traceback holds the failed batch's tensors.
        self._free_memory(reason)
        if len(asked) > 1:
            return [reply for one in asked for reply in self._answers([one])]
        return [self._failed(f"the model cannot answer: {reason}")]

    def _free_memory(self, reason: str) -> None:
        """Raise BackendError where the GPU computes nothing more, as after a failed assertion."""
        import torch

        try:
            torch.cuda.empty_cache()
            torch.zeros(1, device=self._network.device).item()
        except RuntimeError as error:
            raise BackendError(
                f"{self._network.device} computes nothing more in this process ({reason}). Run the"
                " same command again."
            ) from error

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
        drawn = []
        if self._temperature > 0:
            seeds = [self._seed + int(prompt.key()[:12], 16) for prompt, _ in asked]
            drawn = [_Sampling(self._temperature, seeds, self._network.device)]
        with torch.inference_mode():
            written = self._network.generate(
                **inputs, max_new_tokens=self._max_tokens, logits_processor=drawn
            )
        length = inputs["input_ids"].shape[1]
        return [
            self._reply(tokens, int(mask.sum()))
            for tokens, mask in zip(written[:, length:], inputs["attention_mask"], strict=True)
        ]

    def _reply(self, tokens: Any, asked: int) -> Reply:
        length = next((n for n, token in enumerate(tokens.tolist()) if token in self._ends), None)
        text = self._processor.tokenizer.decode(tokens[:length], skip_special_tokens=True).strip()
        usage = Usage(asked, len(tokens) if length is None else length)
        if length is None and len(tokens) >= self._max_tokens:
            detail = f"cut off at {self._max_tokens} tokens; raise max_tokens"
            return Reply(text, self._model, "truncated", usage, detail)
        if not text:
            return Reply("", self._model, "failed", usage, "the reply is empty")
        return Reply(text, self._model, "answered", usage)


class _Sampling:
    """Noise by which the greedy next token of each row is a draw from its softmax.

    This is the Gumbel-max trick (Maddison et al. 2014). Each row has random numbers of its own, so
    that a reply is the same in every batch; transformers draws for a batch as a whole.
    """

    def __init__(self, temperature: float, seeds: Sequence[int], device: Any) -> None:
        import torch

        self._temperature = temperature
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores of the next token, shape (rows, vocabulary)."""
        import torch

        exponential = torch.empty_like(scores)
        for row, generator in zip(exponential, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores / self._temperature - exponential.log()


def _ends(stored: Any, tokenizer: Any) -> set[int]:
    """The tokens that end a reply, by the model's generation settings or by its tokenizer."""
    eos = stored.eos_token_id
    tokens = [*(eos if isinstance(eos, list) else [eos]), tokenizer.eos_token_id]
    return {token for token in tokens if token is not None}


def _greedy(stored: Any, ends: list[int], pad: int) -> Any:
    """Greedy decoding. Of the model's own settings only the tokens that it must not write stay.

    Its penalties would fall on the digits of the coordinates in the prompt, and its top_k of 1
    would make all samples one (Qwen2.5-VL and Qwen2-VL).
    """
    from transformers import GenerationConfig

    return GenerationConfig(
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=pad,
        bos_token_id=stored.bos_token_id,
        bad_words_ids=stored.bad_words_ids,
        suppress_tokens=stored.suppress_tokens,
    )


def _four_bits(dtype: Any) -> Any:
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=dtype)
