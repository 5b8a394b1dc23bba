"""An upright image → a model's input, by Pillow and numpy: resize, centre crop, normalize."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.float32]
"""A model's input for one image, shape (3, size, size)."""
Rounding = Literal["down", "nearest"]
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What is done to an image before a model sees it; raises ValueError for what cannot be.

    `resize` is the shorter side's length, or "squash": both sides to `size`. The centre of `size` ×
    `size` pixels is cut out. Libraries differ in how they round the longer side and the offset of
    the crop: "down", or to the "nearest" whole number, half to even. `mean` and `std` are of 8-bit
    values, one for each channel.
    """

    size: int
    resize: int | Literal["squash"]
    interpolation: str
    longer_side: Rounding
    crop_offset: Rounding
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self) -> None:
        if not 1 <= self.size <= 4096:
            raise ValueError(f"size is {self.size!r}; it should be 1 to 4096")
        if self.resize != "squash" and not self.size <= self.resize <= 8192:
            raise ValueError(f"resize is {self.resize!r}; it should be at least size")
        if self.interpolation not in INTERPOLATIONS:
            known = ", ".join(INTERPOLATIONS)
            raise ValueError(f"interpolation is {self.interpolation!r}; known: {known}")
        for name in ("longer_side", "crop_offset"):
            if (rounding := getattr(self, name)) not in ("down", "nearest"):
                raise ValueError(f'{name} is {rounding!r}; it should be "down" or "nearest"')
        if not len(self.mean) == len(self.std) == 3:
            raise ValueError("mean and std should have one number for each of 3 channels")
        if not (np.isfinite([*self.mean, *self.std]).all() and all(self.std)):
            raise ValueError("mean and std should be finite, and std not 0")

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Preprocessing:
        """What `facts` (a JSON object) say. Raises KeyError, TypeError or ValueError."""
        resize = facts["resize"]
        mean, std = (tuple(map(float, facts[key])) for key in ("mean", "std"))
        return cls(
            int(facts["size"]),
            resize if resize == "squash" else int(resize),
            facts["interpolation"],
            facts["longer_side"],
            facts["crop_offset"],
            mean,  # type: ignore[arg-type]
            std,  # type: ignore[arg-type]
        )

    def facts(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)

    def __call__(self, image: Image) -> Pixels:
        """One upright RGB image → the model's input."""
        from PIL.Image import Resampling

        filter = Resampling[self.interpolation.upper()]
        if self.resize == "squash":
            image = image.resize((self.size, self.size), filter)
        else:
            width, height = (self._resized(side, min(image.size)) for side in image.size)
            image = self._cropped(image.resize((width, height), filter))
        values = np.asarray(image).transpose(2, 0, 1)
        mean, std = (np.array(per, np.float32)[:, None, None] for per in (self.mean, self.std))
        pixels: Pixels = np.subtract(values, mean, dtype=np.float32, order="C")
        pixels /= std
        return pixels

    def _resized(self, side: int, shorter: int) -> int:
        resize = int(self.resize)
        if side == shorter:
            return resize
        if self.longer_side == "down":
            return side * resize // shorter
        return round(side * (resize / shorter))

    def _cropped(self, image: Image) -> Image:
        left, top = (
            (side - self.size) // 2 if self.crop_offset == "down" else round((side - self.size) / 2)
            for side in image.size
        )
        return image.crop((left, top, left + self.size, top + self.size))
