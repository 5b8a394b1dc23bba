"""GeoCLIP (Vivanco Cepeda et al., NeurIPS 2023, arXiv 2309.16020): photographs, points and texts in one space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from img2loc.core.errors import ConfigError
from img2loc.core.hub import HubFiles
from img2loc.core.types import Embedding, Embeddings, Location
from img2loc.encoders import geoclip_towers
from img2loc.encoders.torch_encoder import (
    TextTower,
    TorchEncoder,
    fingerprint,
    sees_corners,
    unit_rows,
)

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from img2loc.core.protocols import Encoder

_POINTS = 2048  # At once: their hidden layers take 100 times the room of the result.
_TEN_CROP_RESIZE = (
    256 / 224
)  # The shorter side before cropping, as a share of the input's, as in GeoCLIP's evaluation.


class GeoClip(TorchEncoder, TextTower):
    """An image tower with GeoCLIP's head, and GeoCLIP's location tower.

    `encoder` is the frozen image tower (the authors': CLIP ViT-L/14 through transformers).
    `weights` is "package" (the trained ones in the package geoclip), a hub id in the authors'
    format, or a folder, such as one that `img2loc train geoclip` wrote. `views` is "single" or
    "ten-crop", the paper's evaluation: four corners and the centre, and their mirror images; a
    vector is then the mean of ten unit vectors, whose inner products are the mean of the ten crops'
    similarities. The head and the location tower compute in single precision: the finest Fourier
    features would not survive less. Raises ConfigError where tower and weights do not fit,
    MissingWeights.
    """

    def __init__(
        self,
        encoder: Encoder,
        weights: str = geoclip_towers.PACKAGE,
        views: Literal["single", "ten-crop"] = "single",
        batch_size: int = 32,
    ) -> None:
        if not isinstance(encoder, TorchEncoder):
            raise ConfigError(
                f"{encoder.name!r} cannot be the image tower of GeoCLIP: it gives no features"
                " before unit length."
            )
        super().__init__("geoclip", encoder.device, "float32", batch_size)
        parts, about = geoclip_towers.load(weights)
        width = parts.image_encoder["mlp"][0].in_features  # type: ignore[index]
        if width != encoder.dim:
            raise ConfigError(
                f"The GeoCLIP weights {weights!r} take {width} features, and the encoder"
                f" {encoder.name!r} gives {encoder.dim}. Name the encoder that they were trained"
                " with."
            )
        if (trained := about.get("encoder", encoder.name)) != encoder.name:
            raise ConfigError(
                f"The GeoCLIP weights {weights!r} were trained with {trained!r}, not with"
                f" {encoder.name!r}. Name that encoder."
            )
        if views == "ten-crop" and not sees_corners(encoder):
            raise ConfigError(
                f"{encoder.name!r} cuts off the edges of what it is given, ten crops included. Set"
                ' views = "single", or name a tower that takes an image of its own size whole,'
                " such as CLIP through transformers."
            )
        self._tower = encoder
        self.views = views
        self.scale = float(parts.logit_scale.exp())
        self._dim, self.size = geoclip_towers.DIM, encoder.size
        self._name = f"geoclip/{self.dim}d-{self.size}px@{fingerprint(parts.state_dict(), {'tower': encoder.name})}"
        self._parts = parts.to(self.device)

    @classmethod
    def needs(cls, weights: str = geoclip_towers.PACKAGE, **_: object) -> HubFiles | None:
        """What it takes from a hub besides its image tower. Raises ConfigError."""
        return geoclip_towers.needs(weights)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the tower's input; with ten crops, all of them, shape (10, channels, height, width)."""
        if self.views == "single":
            return self._tower.prepare(image)
        import torch
        from PIL.Image import Resampling
        from torchvision.transforms.functional import ten_crop

        side = round(self.size * _TEN_CROP_RESIZE)
        scale = side / min(image.size)
        resized = image.resize(
            (max(side, round(image.width * scale)), max(side, round(image.height * scale))),
            Resampling.BICUBIC,
        )
        return torch.stack([self._tower.prepare(crop) for crop in ten_crop(resized, self.size)])

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of the tower's inputs → features of shape (n, 512)."""
        return self._parts.head(self._tower.features(pixels.to(self._tower.dtype)).float())

    def _rows(self, inputs: list[torch.Tensor]) -> Iterable[Embedding] | torch.Tensor:
        import torch

        if self.views == "single":
            return super()._rows(inputs)
        with torch.inference_mode():
            return [
                unit_rows(self.features(crops.to(self.device))).mean(axis=0) for crops in inputs
            ]

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        """Points → float32 unit rows of shape (n, 512), by the location tower."""
        import torch

        degrees = torch.tensor([(at.lat, at.lon) for at in points], dtype=torch.float32).reshape(
            -1, 2
        )
        with torch.inference_mode():
            rows = [
                unit_rows(self._parts.location_encoder(part.to(self.device)))
                for part in torch.split(degrees, _POINTS)
            ]
        return np.concatenate(rows) if rows else np.empty((0, self.dim), np.float32)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts through the tower's text side and the head, shape (n, 512).

        Raises ConfigError where it has no text side.
        """
        if not isinstance(self._tower, TextTower):
            raise ConfigError(
                f"{self._tower.name!r} reads no text. Give GeoCLIP a CLIP model as its encoder."
            )
        return self._parts.head(self._tower.text_features(texts).float())
