"""The order of raw inner products in galleries of unit vectors, as Img2Loc's released code has it.

That code compares a query with rows that are not scaled to unit length. With `longest` at least the
length of every row, a row x is stored as (x, √(longest² − |x|²)) / longest, and a query q as
(q, 0) / |q|: both have unit length, and their inner product is that of x and q / |q|, divided by
`longest` (Bachrach et al., Speeding Up the Xbox Recommender System, RecSys 2014).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import ConfigError
from img2loc.core.protocols import Encoder
from img2loc.core.types import Embedding, Photo, Rejected
from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

Finish = Callable[[NDArray[np.float64], float], Embedding | str]
"""Features and their length → a unit row, or why there is none."""


class RawProduct(TorchEncoder):
    """Another encoder, whose vectors keep their lengths; one dimension more than its.

    `longest` is at least the length of every row of the gallery; a longer one is rejected, and the
    reason says so. Raises ConfigError for an encoder without features of their own length.
    """

    def __init__(self, encoder: Encoder, longest: float) -> None:
        if not isinstance(encoder, TorchEncoder):
            raise ConfigError(
                f"{encoder.name!r} gives unit vectors alone, whose raw inner products are cosines."
                " Name an encoder of kind transformers, open_clip or timm."
            )
        if not 0 < longest < math.inf:
            raise ConfigError(f"longest is {longest}; it should be a length above 0.")
        super().__init__("raw_product", encoder.device, "float32", encoder.batch_size)
        self._tower, self._longest, self.dtype = encoder, longest, encoder.dtype
        self._dim, self.size = encoder.dim + 1, encoder.size
        self._name = f"raw-product/{self.dim}d-longest-{longest:g}:{encoder.name}"

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the input of the other encoder's model."""
        return self._tower.prepare(image)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs → features of the other encoder, shape (n, dim − 1)."""
        return self._tower.features(pixels)

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """A gallery's rows: one float32 unit row for each photo, or why it has none."""
        return self._encoded(photos, self._row)

    def encode_queries(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """As `encode`, of photographs that are asked about: their lengths change no order."""
        return self._encoded(photos, lambda features, length: _unit(features / length, 0.0))

    def _encoded(self, photos: Iterable[Photo], finish: Finish) -> Iterator[Embedding | Rejected]:
        for photo, features in self.run(photos, self._decode, self.forward):
            row: Embedding | str = "the model gives it no vector"
            if isinstance(features, str):
                row = features
            elif 0 < (length := float(np.linalg.norm(features.astype(np.float64)))) < math.inf:
                row = finish(features.astype(np.float64), length)
            yield Rejected(str(photo.path), row) if isinstance(row, str) else row

    def _row(self, features: NDArray[np.float64], length: float) -> Embedding | str:
        if length > self._longest:
            return (
                f"its vector has length {length:.4g}, above longest = {self._longest:g}: raise it"
            )
        rest = math.sqrt(self._longest**2 - length**2)
        return _unit(features / self._longest, rest / self._longest)


def _unit(features: NDArray[np.float64], last: float) -> Embedding:
    return np.append(features, last).astype(np.float32)
