"""Base of the torch encoders: device, precision, decoding ahead in threads, unit rows, name."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import ConfigError, MissingWeights, UnreadablePhoto, first_line
from img2loc.core.types import Embedding, Embeddings, Photo, Rejected

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Input = TypeVar("Input")
_MOST_WORKERS = 32
_SHORTER_SIDE = 2.5
"""The shorter side to which a JPEG may be decoded, in sides of the model's input. Models resize to
1 to 1.15 of them, so that at least twice as many pixels a side remain to resize from; the vector
moves by less than tests/encoders/test_encoders.py allows."""


class TorchEncoder(ABC):
    """A subclass loads its model, gives it to `_adopt`, and says how to `prepare` one image.

    `size` is the side of the model's input in pixels, `scale` the factor by which its softmax over
    similarities was trained (exp of CLIP's logit scale), None for a model that has none.

    `device`: "auto" (CUDA where there is one, else CPU) or a torch device. `dtype`: "auto"
    (bfloat16 where the processor computes in it, float16 on older CUDA, else float32), or a name.
    Raises ConfigError for others.
    """

    def __init__(self, kind: str, device: str, dtype: str, batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be 1 or more.")
        self.batch_size = batch_size
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self._kind = kind
        self._workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        self.size = 0
        self.scale: float | None = None
        self.views = "single"
        self._dim = 0
        self._name = ""

    @property
    def name(self) -> str:
        """Kind, dimensions, input size, fingerprint of architecture, weights and preprocessing."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    @abstractmethod
    def prepare(self, image: Image) -> torch.Tensor:
        """One upright RGB image → the model's input, shape (channels, height, width), float32."""

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Inputs in the model's device and dtype → features as it gives them, shape (n, dim)."""
        features: torch.Tensor = self._model(pixels)
        return features

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One float32 unit row for each photo, in order, or the reason why it has none."""
        for photo, row in self.run(photos, self._decode, self._rows):
            if isinstance(row, str):
                yield Rejected(str(photo.path), row)
            elif not 1e-3 < float(np.linalg.norm(row)) < 1 + 1e-3:
                # Zeros, NaN or infinity; the mean of several views is shorter than 1.
                yield Rejected(str(photo.path), "the model gives it no vector")
            else:
                yield row

    def run(
        self,
        inputs: Iterable[Input],
        decode: Callable[[Input], torch.Tensor],
        forward: Callable[[list[torch.Tensor]], Iterable[Embedding] | torch.Tensor],
    ) -> Iterator[tuple[Input, Embedding | str]]:
        """Each input with its row, in order, or with the reason why it cannot be decoded.

        While `forward` runs over one batch, threads decode the next. A GPU is given a batch before
        the rows of the one before are taken from it, so that it need not wait for them.
        """
        upcoming = iter(inputs)
        first = list(islice(upcoming, 2))
        if len(first) < 2:
            # Without threads: torch's work in a second one has its cores spin while the model runs.
            yield from _run_batch([(item, _decoded(decode, item)) for item in first], forward)
            return
        upcoming = chain(first, upcoming)
        most_ahead = 2 * max(self.batch_size, self._workers)
        ahead: deque[tuple[Input, Future[torch.Tensor | str]]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:

            def look_ahead() -> None:
                for item in islice(upcoming, most_ahead - len(ahead)):
                    ahead.append((item, pool.submit(_decoded, decode, item)))

            try:
                look_ahead()
                running: Iterator[tuple[Input, Embedding | str]] = iter(())
                while ahead:
                    batch = [ahead.popleft() for _ in range(min(self.batch_size, len(ahead)))]
                    decoded = [(item, future.result()) for item, future in batch]
                    look_ahead()
                    rows = _run_batch(decoded, forward)
                    if self.device.startswith("cuda"):
                        rows, running = running, rows
                    yield from rows
                yield from running
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """A batch of prepared images → features in float32; a GPU may still be computing them."""
        import torch

        with torch.inference_mode():
            return self.features(self._to_device(torch.stack(inputs))).float()

    def _decode(self, photo: Photo) -> torch.Tensor:
        return self.prepare(photo.image(shorter=math.ceil(_SHORTER_SIDE * self.size)))

    def _rows(self, inputs: list[torch.Tensor]) -> Iterable[Embedding] | torch.Tensor:
        return _normalized(self.forward(inputs))

    def _to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.device.startswith("cuda"):
            return inputs.pin_memory().to(self.device, non_blocking=True).to(self.dtype)
        # A copy to mps that is not waited for may read memory that is used again.
        return inputs.to(self.device, self.dtype)

    def _adopt(
        self, model: torch.nn.Module, dim: int, size: int, preprocessing: Mapping[str, object]
    ) -> None:
        """Name the encoder, and put its model in evaluation mode on its device and dtype."""
        self._dim, self.size = dim, size
        mark = fingerprint(model.state_dict(), preprocessing)
        self._name = f"{self._kind}/{dim}d-{size}px@{mark}"
        self._model = model.eval().requires_grad_(False).to(self.device, self.dtype)


class TextTower(ABC):
    """What CLIP-like encoders share: a subclass gives `text_features` (one batch)."""

    dim: Any
    batch_size: int

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """A batch of texts → features as the model gives them, shape (n, dim)."""

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Float32 unit rows, shape (len(texts), dim).

        A text is cut off at the model's length (77 tokens for CLIP).
        """
        import torch

        size = self.batch_size
        with torch.inference_mode():
            rows = [
                unit_rows(self.text_features(texts[start : start + size]))
                for start in range(0, len(texts), size)
            ]
        return np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)


def unit_rows(features: torch.Tensor) -> Embeddings:
    """Features of shape (n, dim) → float32 rows of unit length."""
    rows: Embeddings = _normalized(features).cpu().numpy()
    return rows


def _normalized(features: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    return normalize(features.float(), dim=-1)


def _decoded(decode: Callable[[Input], torch.Tensor], item: Input) -> torch.Tensor | str:
    try:
        return decode(item)
    except UnreadablePhoto as error:
        return str(error)


def _run_batch(
    decoded: list[tuple[Input, torch.Tensor | str]],
    forward: Callable[[list[torch.Tensor]], Iterable[Embedding] | torch.Tensor],
) -> Iterator[tuple[Input, Embedding | str]]:
    """Start a batch; its rows are taken from the device when the first of them is asked for."""
    import torch

    inputs = [pixels for _, pixels in decoded if not isinstance(pixels, str)]
    rows = forward(inputs) if inputs else ()

    def merged() -> Iterator[tuple[Input, Embedding | str]]:
        taken = iter(rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows)
        for item, pixels in decoded:
            yield item, pixels if isinstance(pixels, str) else next(taken)

    return merged()


@contextmanager
def loading(failure: str) -> Iterator[None]:
    """Raise MissingWeights, `failure` and the reason, for whatever is raised in the block."""
    try:
        yield
    except Exception as error:  # A torn file can make loaders and unpicklers raise anything.
        raise MissingWeights(f"{failure}: {first_line(error)}") from error


def fingerprint(weights: Mapping[str, torch.Tensor], preprocessing: Mapping[str, object]) -> str:
    """Twelve hex digits of weights (a sample of every tensor) and preprocessing."""
    digest = hashlib.sha256(
        repr(sorted((key, str(value)) for key, value in preprocessing.items())).encode()
    )
    for name in sorted(weights):
        tensor = weights[name].detach().flatten()
        sample = tensor[:: max(1, tensor.numel() // 64)].cpu().double().numpy()
        digest.update(f"{name}{tuple(weights[name].shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:12]
