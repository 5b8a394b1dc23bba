"""An ONNX encoder in the place of a torch one: GeoCLIP's frozen image tower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from img2loc.encoders.onnx import OnnxEncoder
from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image


class OnnxTower(TorchEncoder):
    """Gives the features of an ONNX encoder, before they are of unit length, as torch tensors."""

    def __init__(self, encoder: OnnxEncoder) -> None:
        super().__init__("onnx", "cpu", "float32", encoder.batch_size)
        self._encoder = encoder
        self._name, self._dim, self.size = encoder.name, encoder.dim, encoder.size
        self.scale = encoder.scale

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        import torch

        return torch.from_numpy(self._encoder.prepare(image))

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs → features."""
        import torch

        return torch.from_numpy(self._encoder.features(pixels.numpy()))
