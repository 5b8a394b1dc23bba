"""Random views of a photograph as SimCLR makes them (Chen et al., ICML 2020), with the parameters of GeoCLIP's code."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from PIL.Image import Image

_JITTER = {
    "brightness": (0.6, 1.4),
    "contrast": (0.6, 1.4),
    "saturation": (0.6, 1.4),
    "hue": (-0.1, 0.1),
}
_DRAWING = Lock()


def view(image: Image, size: int, seed: int) -> Image:
    """A random part of an image as a square of `size` pixels, perhaps mirrored, of other colours, or grey; one seed, one view."""
    from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop
    from torchvision.transforms import functional as change

    with (
        _DRAWING,
        torch.random.fork_rng(devices=[]),
    ):  # torchvision draws from torch's one generator, which threads share.
        torch.manual_seed(seed)
        part = RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        mirrored, coloured, grey = (torch.rand(3) < torch.tensor([0.5, 0.8, 0.2])).tolist()
        order, *amounts = ColorJitter.get_params(*(list(ends) for ends in _JITTER.values()))
    seen: Image = change.resized_crop(image, *part, [size, size], InterpolationMode.BICUBIC)
    if mirrored:
        seen = change.hflip(seen)
    if coloured:
        ways = (
            change.adjust_brightness,
            change.adjust_contrast,
            change.adjust_saturation,
            change.adjust_hue,
        )
        for number in order.tolist():
            seen = ways[number](seen, amounts[number])
    return change.to_grayscale(seen, 3) if grey else seen
