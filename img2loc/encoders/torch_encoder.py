"""Base of the torch encoders: device, precision, unit rows, name."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from img2loc.core.devices import resolve_device, resolve_dtype
from img2loc.core.errors import ConfigError
from img2loc.core.types import Embedding, Embeddings
from img2loc.encoders.batched_encoder import BatchedEncoder
from img2loc.encoders.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch


class TorchEncoder(BatchedEncoder["torch.Tensor"]):
    """A subclass loads its model, gives it to `_adopt`, and says how to `prepare` one image.

    What it prepares is float32. `device`: "auto" (CUDA where there is one, else CPU) or a torch
    device. `dtype`: "auto" (bfloat16 where the processor computes in it, float16 on older CUDA,
    else float32), or a name. Raises ConfigError for others.
    """

    def __init__(self, kind: str, device: str, dtype: str, batch_size: int) -> None:
        super().__init__(resolve_device(device), batch_size)
        self.dtype = resolve_dtype(dtype, self.device)
        self._kind = kind

    @property
    def networks(self) -> list[torch.nn.Module]:
        """The modules that `features` runs."""
        return [self._model]

    def preprocessing(self) -> Preprocessing:
        """What `prepare` does, for an export. Raises ConfigError where that cannot be said."""
        raise ConfigError(f"The preprocessing of {self.name!r} cannot be exported.")

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Inputs in the model's device and dtype → features as it gives them, shape (n, dim)."""
        features: torch.Tensor = self._model(pixels)
        return features

    def forward(self, inputs: list[torch.Tensor]) -> Iterable[Embedding]:
        """A batch of prepared images → a row of features for each, float32, not of unit length."""
        return _taken(self._forward(inputs))

    def _rows(self, inputs: list[torch.Tensor]) -> Iterable[Embedding]:
        return _taken(_normalized(self._forward(inputs)))

    def _forward(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            return self.features(self._to_device(torch.stack(inputs))).float()

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


def _taken(features: torch.Tensor) -> Iterator[Embedding]:
    """The rows, taken from the device when the first is asked for."""
    yield from features.cpu().numpy()


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
