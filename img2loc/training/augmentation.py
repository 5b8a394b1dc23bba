"""SimCLR's random views (Chen et al., ICML 2020), with the parameters of GeoCLIP's code.

The tower normalizes them as it does photographs; GeoCLIP's code, by ImageNet's mean and deviation.
"""

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


def random_view(image: Image, size: int, seed: int) -> Image:
    """A random crop of `size` pixels a side, with random flip, colour jitter and greyscale."""
    from torchvision.transforms import ColorJitter, InterpolationMode, RandomResizedCrop
    from torchvision.transforms import functional as change

    # torchvision draws from torch's global generator, which threads share.
    with _DRAWING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        crop = RandomResizedCrop.get_params(image, scale=[0.08, 1.0], ratio=[3 / 4, 4 / 3])
        flipped, jittered, grey = (torch.rand(3) < torch.tensor([0.5, 0.8, 0.2])).tolist()
        order, *amounts = ColorJitter.get_params(*(list(limits) for limits in _JITTER.values()))
    view: Image = change.resized_crop(image, *crop, [size, size], InterpolationMode.BILINEAR)
    if flipped:
        view = change.hflip(view)
    if jittered:
        steps = (
            change.adjust_brightness,
            change.adjust_contrast,
            change.adjust_saturation,
            change.adjust_hue,
        )
        for number in order.tolist():
            view = steps[number](view, amounts[number])
    return change.to_grayscale(view, 3) if grey else view
