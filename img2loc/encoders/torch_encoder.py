"""What every torch model shares: device, precision, decoding in threads while the model runs, unit rows, a name."""

from __future__ import annotations

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import ConfigError, UnreadablePhoto
from img2loc.core.types import Embedding, Embeddings, Photo, Rejected

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_MOST_WORKERS = 32
_DECODED_AT_LEAST = 2.5
"""The shorter side at which a JPEG may be decoded, in sides of the model's input. Towers resize to 1 to 1.15 of them, so at least
twice as many pixels a side are left to resize from, and the vector moves by less than
tests/encoders/test_encoders.py allows."""


class TorchEncoder(ABC):
    """Base of our encoders: a subclass loads its model, and gives `prepare` (one image) and `features` (one batch).

    `size` is the side of the model's input in pixels, `scale` the factor by which its softmax over
    similarities was trained (exp of CLIP's logit scale), None for a model that has none.

    `device`: "auto" (CUDA where there is one, else CPU) or a torch device. `dtype`: "auto"
    (bfloat16 where the processor computes in it, float16 on older CUDA, else float32), or a name.
    Raises ConfigError for others.
    """

    def __init__(self, kind: str, device: str, dtype: str, batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be 1 or more.")
        self._kind = kind
        self.device = resolve_device(device)
        self.dtype = resolve_dtype(dtype, self.device)
        self._batch_size = batch_size
        self._workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        self.size = 0
        self.scale: float | None = None
        self.views = "single"
        self._dim = 0
        self._name = ""

    @property
    def name(self) -> str:
        """Kind, dimensions, input size, and a fingerprint of architecture, weights and preprocessing."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    @abstractmethod
    def prepare(self, image: Image) -> torch.Tensor:
        """One upright RGB image → the model's input, shape (channels, height, width), float32."""

    @abstractmethod
    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs on the model's device and in its dtype → features as the model gives them, shape (n, dim)."""

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One float32 unit row for each photo, in order, or the reason why it cannot be decoded.

        While the model runs over one batch, threads decode the next. A GPU is given a batch before
        the rows of the one before are taken from it, so that it need not wait for them.
        """
        upcoming = iter(photos)
        first = list(islice(upcoming, 2))
        if len(first) < 2:
            yield from self._alone(first)
            return
        upcoming = chain(first, upcoming)
        most_ahead = max(2 * self._batch_size, 2 * self._workers)
        ahead: deque[tuple[Photo, Future[torch.Tensor]]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:

            def look_ahead() -> None:
                for photo in islice(upcoming, most_ahead - len(ahead)):
                    ahead.append((photo, pool.submit(self._decode, photo)))

            try:
                look_ahead()
                running: Iterator[Embedding | Rejected] = iter(())
                while ahead:
                    batch: list[Rejected | None] = []
                    inputs: list[torch.Tensor] = []
                    photos_in: list[Photo] = []
                    while ahead and len(photos_in) < self._batch_size:
                        photo, decoding = ahead.popleft()
                        photos_in.append(photo)
                        try:
                            inputs.append(decoding.result())
                            batch.append(None)
                        except UnreadablePhoto as error:
                            batch.append(Rejected(str(photo.path), str(error)))
                    look_ahead()
                    rows = _as_they_come(self._rows(inputs) if inputs else (), photos_in, batch)
                    if self.device.startswith("cuda"):
                        rows, running = running, rows
                    yield from rows
                yield from running
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _alone(self, photos: list[Photo]) -> Iterator[Embedding | Rejected]:
        """One photograph, without threads: torch's work in a second one would have its cores spin while the model runs."""
        for photo in photos:
            try:
                rows = self._rows([self._decode(photo)])
            except UnreadablePhoto as error:
                yield Rejected(str(photo.path), str(error))
            else:
                yield from _as_they_come(rows, [photo], [None])

    def _decode(self, photo: Photo) -> torch.Tensor:
        return self.prepare(photo.image(shorter=math.ceil(_DECODED_AT_LEAST * self.size)))

    def _rows(self, inputs: list[torch.Tensor]) -> Iterable[Embedding] | torch.Tensor:
        """Unit rows of a batch of inputs; a tensor on a GPU may still be being computed."""
        import torch

        with torch.inference_mode():
            return _normalised(self.features(self._to_device(torch.stack(inputs))))

    def _to_device(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.device.startswith("cuda"):
            return inputs.pin_memory().to(self.device, non_blocking=True).to(self.dtype)
        return inputs.to(
            self.device, self.dtype
        )  # A copy to mps that is not waited for may read memory that is used again.

    def _adopt(
        self, model: torch.nn.Module, dim: int, size: int, preprocessing: Mapping[str, object]
    ) -> torch.nn.Module:
        """Stamp the encoder with what it is, and put the model to work: evaluation mode, device, dtype."""
        self._dim, self.size = dim, size
        self._name = (
            f"{self._kind}/{dim}d-{size}px@{fingerprint(model.state_dict(), preprocessing)}"
        )
        return model.eval().requires_grad_(False).to(self.device, self.dtype)


class TextTower(ABC):
    """What CLIP-like encoders share: a subclass gives `text_features` (one batch)."""

    dim: Any
    _batch_size: int

    @abstractmethod
    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """A batch of texts → features as the model gives them, shape (n, dim)."""

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Float32 unit rows of shape (len(texts), dim); a text is cut off at the model's length (77 tokens for CLIP)."""
        import torch

        batches = [
            texts[start : start + self._batch_size]
            for start in range(0, len(texts), self._batch_size)
        ]
        with torch.inference_mode():
            rows = [unit_rows(self.text_features(batch)) for batch in batches]
        return np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)


def unit_rows(features: torch.Tensor) -> Embeddings:
    """Features of shape (n, dim) → float32 rows of unit length."""
    rows: Embeddings = _normalised(features).cpu().numpy()
    return rows


def _normalised(features: torch.Tensor) -> torch.Tensor:
    from torch.nn.functional import normalize

    return normalize(features.float(), dim=-1)


def _as_they_come(
    rows: Iterable[Embedding] | torch.Tensor,
    photos: Sequence[Photo],
    rejected: Sequence[Rejected | None],
) -> Iterator[Embedding | Rejected]:
    """The rows of a batch, taken from the device at the first one, with what was rejected in its place."""
    import torch

    taken = iter(rows.cpu().numpy() if isinstance(rows, torch.Tensor) else rows)
    for photo, reason in zip(photos, rejected, strict=True):
        yield _checked(photo, next(taken)) if reason is None else reason


def sees_corners(encoder: TorchEncoder) -> bool:
    """Whether an image of the model's own input size goes in whole, and is not cropped once more."""
    from PIL import Image

    side = encoder.size
    black, white = Image.new("RGB", (side, side), "black"), Image.new("RGB", (side, side), "white")
    framed = white.copy()
    framed.paste(black.crop((0, 0, side - 4, side - 4)), (2, 2))
    corners = [encoder.prepare(image)[:, 0, 0] for image in (black, framed)]
    return bool((corners[1] > corners[0]).all())


def _checked(photo: Photo, row: Embedding) -> Embedding | Rejected:
    """A row that points somewhere, or why there is none: a model may give nothing but zeros, or overflow."""
    if 1e-3 < float(np.linalg.norm(row)) < 1 + 1e-3:  # The mean of several views is shorter than 1.
        return row
    return Rejected(str(photo.path), "the model gives it no vector")


def fingerprint(weights: Mapping[str, torch.Tensor], preprocessing: Mapping[str, object]) -> str:
    """Twelve hex digits that tell one set of weights and preprocessing from another, by a sample of every tensor."""
    digest = hashlib.sha256(
        repr(sorted((key, str(value)) for key, value in preprocessing.items())).encode()
    )
    for name in sorted(weights):
        tensor = weights[name].detach().flatten()
        sample = tensor[:: max(1, tensor.numel() // 64)].cpu().double().numpy()
        digest.update(f"{name}{tuple(weights[name].shape)}".encode() + sample.tobytes())
    return digest.hexdigest()[:12]
