"""GeoCLIP: photographs, points and texts → one space.

Vivanco Cepeda et al., NeurIPS 2023, arXiv 2309.16020.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from img2loc.core.errors import ConfigError
from img2loc.core.hub import HubFiles
from img2loc.core.protocols import Deferred
from img2loc.core.types import Embedding, Embeddings, Location, Photo, Rejected
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip_towers import GeoClipParts
from img2loc.encoders.onnx import OnnxEncoder
from img2loc.encoders.onnx_tower import OnnxTower
from img2loc.encoders.preprocessing import Preprocessing
from img2loc.encoders.torch_encoder import TextTower, TorchEncoder, fingerprint, unit_rows

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from img2loc.core.protocols import Encoder

_POINTS = 2048  # At once: their hidden layers take 100 times the memory of the result.
_TEN_CROP_RESIZE = 256 / 224  # Shorter side before cropping : input's, as GeoCLIP was evaluated.


class GeoClip(TorchEncoder, TextTower):
    """An image tower with GeoCLIP's head, and GeoCLIP's location tower.

    `encoder` is the frozen image tower (the authors': CLIP ViT-L/14 through transformers). A
    Deferred one is loaded when a photograph, a text or the `name` is first wanted; points need
    none. `weights` is "package" (the trained ones in the package geoclip), a hub id in the authors'
    format, or a folder, such as one that `img2loc train geoclip` wrote. `views` is "single" or
    "ten-crop", the paper's evaluation: four corners and the centre, and their mirror images; a
    vector is then the mean of ten unit vectors, whose inner products are the mean of the ten crops'
    similarities. The head and the location tower compute in single precision: the finest Fourier
    features need it. Raises ConfigError where tower and weights do not fit, MissingWeights.
    """

    def __init__(
        self,
        encoder: Encoder | Deferred,
        weights: str = geoclip_towers.PACKAGE,
        views: Literal["single", "ten-crop"] = "single",
        batch_size: int = 32,
    ) -> None:
        device = (encoder if isinstance(encoder, Deferred) else image_tower(encoder)).device
        super().__init__("geoclip", device, "float32", batch_size)
        parts, self._about = geoclip_towers.load(weights)
        self.views = views
        self.scale = float(parts.logit_scale.exp())
        self._dim = geoclip_towers.DIM
        mark = fingerprint(parts.location_encoder.state_dict(), {})
        self._location_name = f"geoclip-location/{self.dim}d@{mark}"
        self._parts = parts.to(self.device)
        self._weights, self._encoder = weights, encoder
        self._tower: TorchEncoder | None = None
        if not isinstance(encoder, Deferred):
            self.tower()

    @classmethod
    def needs(cls, weights: str = geoclip_towers.PACKAGE, **_: object) -> HubFiles | None:
        """What it takes from a hub besides its image tower. Raises ConfigError."""
        return geoclip_towers.needs(weights)

    @property
    def name(self) -> str:
        """As every encoder's; it needs the image tower. Raises as `tower` does."""
        self.tower()
        return self._name

    @property
    def location_name(self) -> str:
        """The location tower's name: dimensions, and fingerprint of its weights."""
        return self._location_name

    def tower(self) -> TorchEncoder:
        """The image tower, loaded if it was deferred.

        Raises MissingWeights, and ConfigError where it does not fit.
        """
        if self._tower is not None:
            return self._tower
        encoder = self._encoder
        tower = image_tower(encoder.load() if isinstance(encoder, Deferred) else encoder)
        _require_fit(self._weights, self._parts, self._about, tower)
        if self.views == "ten-crop" and not _sees_corners(tower):
            raise ConfigError(
                f"{tower.name!r} cuts off the edges of its input, ten crops included. Set"
                ' views = "single", or name a tower that takes an image of its own size whole,'
                " such as CLIP through transformers."
            )
        mark = fingerprint(self._parts.state_dict(), {"tower": tower.name})
        self._name = f"geoclip/{self.dim}d-{tower.size}px@{mark}"
        self.size, self.device = tower.size, tower.device
        self._parts.to(self.device)
        self._tower = tower
        return tower

    @property
    def networks(self) -> list[torch.nn.Module]:
        """The tower's model, and the head."""
        return [*self.tower().networks, self._parts]

    def preprocessing(self) -> Preprocessing:
        """The tower's. Raises ConfigError for ten crops."""
        if self.views != "single":
            raise ConfigError(
                f"{self.name!r} takes {self.views} of a photograph, and an ONNX encoder takes one"
                ' view. Export the encoder with views = "single".'
            )
        return self.tower().preprocessing()

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """As every encoder's. Raises as `tower` does, before the first photo is read."""
        self.tower()
        return super().encode(photos)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the tower's input; ten crops → shape (10, channels, height, width)."""
        tower = self.tower()
        if self.views == "single":
            return tower.prepare(image)
        import torch
        from PIL.Image import Resampling
        from torchvision.transforms.functional import ten_crop

        shorter = round(tower.size * _TEN_CROP_RESIZE)
        scale = shorter / min(image.size)
        width, height = (max(shorter, round(side * scale)) for side in image.size)
        resized = image.resize((width, height), Resampling.BICUBIC)
        return torch.stack([tower.prepare(crop) for crop in ten_crop(resized, tower.size)])

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of the tower's inputs → features of shape (n, 512)."""
        tower = self.tower()
        return self._parts.head(tower.features(pixels.to(tower.dtype)).float())

    def _rows(self, inputs: list[torch.Tensor]) -> Iterable[Embedding]:
        import torch

        if self.views == "single":
            return super()._rows(inputs)
        with torch.inference_mode():
            return [
                unit_rows(self.features(crops.to(self.device))).mean(axis=0)  # One photograph's.
                for crops in inputs
            ]

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        """Points → float32 unit rows of shape (n, 512), by the location tower."""
        import torch

        degrees = torch.tensor([(at.lat, at.lon) for at in points], dtype=torch.float32)
        with torch.inference_mode():
            rows = [
                unit_rows(self._parts.location_encoder(part.to(self.device)))
                for part in torch.split(degrees.reshape(-1, 2), _POINTS)
            ]
        return np.concatenate(rows)

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """Texts through the tower's text side and the head, shape (n, 512).

        Raises ConfigError where it has no text side.
        """
        tower = self.tower()
        if not isinstance(tower, TextTower):
            raise ConfigError(
                f"{tower.name!r} reads no text. Give GeoCLIP a CLIP model as its encoder."
            )
        return self._parts.head(tower.text_features(texts).float())


def image_tower(encoder: Encoder) -> TorchEncoder:
    """The encoder, if it can be GeoCLIP's image tower. Raises ConfigError."""
    if isinstance(encoder, TorchEncoder):
        return encoder
    if isinstance(encoder, OnnxEncoder):
        return OnnxTower(encoder)
    raise ConfigError(
        f"{encoder.name!r} cannot be the image tower of GeoCLIP: it has no features before"
        " normalization to unit length."
    )


def load_parts(weights: str, tower: TorchEncoder) -> GeoClipParts:
    """GeoCLIP's parts for this image tower. Raises ConfigError where they are another's."""
    parts, about = geoclip_towers.load(weights)
    _require_fit(weights, parts, about, tower)
    return parts


def _require_fit(
    weights: str, parts: GeoClipParts, about: Mapping[str, object], tower: TorchEncoder
) -> None:
    width = parts.image_encoder["mlp"][0].in_features  # type: ignore[index]
    if width != tower.dim or about.get("encoder", tower.name) != tower.name:
        owner = about.get("encoder", f"an image tower of {width} features")
        raise ConfigError(
            f"The GeoCLIP weights {weights!r} belong to {owner}, not to {tower.name!r}."
            " Name that encoder."
        )


def _sees_corners(encoder: TorchEncoder) -> bool:
    """Whether an image of the model's own input size goes in whole, not cropped once more."""
    from PIL import Image

    side = encoder.size
    black, white = Image.new("RGB", (side, side), "black"), Image.new("RGB", (side, side), "white")
    framed = white.copy()
    framed.paste(black.crop((0, 0, side - 4, side - 4)), (2, 2))
    corners = [encoder.prepare(image)[:, 0, 0] for image in (black, framed)]
    return bool((corners[1] > corners[0]).all())
