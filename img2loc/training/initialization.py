"""What a training starts from: its share of the rows, its parts, and streams of random numbers that can be taken up anywhere."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from img2loc.core.errors import ConfigError, SourceError
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip_towers import GeoClipParts
from img2loc.encoders.torch_encoder import TorchEncoder

RANDOM = "random"
"""Names the weights of a training from scratch."""
# What random numbers are for: each purpose has its own stream, so that the length of one does not
# shift another.
SPLIT, SAMPLE, START, EPOCH, VIEW = range(5)


def seed_of(*of: int) -> int:
    """A seed for one purpose: the user's seed, what it is for, and which one of these."""
    return int(np.random.SeedSequence(of).generate_state(1, np.uint64)[0] >> 1)


def split(
    count: int, validation: float, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `count` rows to train on, and which to hold back: two sorted arrays without a row in common.

    `fraction` is of what is not held back. With one seed, the rows of a smaller fraction are among
    those of a larger one, and the same rows are held back for both. Raises SourceError where fewer
    than two are left: one has no other's place to tell its own from.
    """
    order = np.random.default_rng([seed, SPLIT]).permutation(count)
    held = math.ceil(validation * count)
    left = order[held:]
    taken = round(fraction * len(left))
    if taken < 2:
        raise SourceError(
            f"Of {count} usable photographs, {held} are held back for validation, and a fraction of"
            f" {fraction:g} of the others is {taken}: training needs 2 or more."
        )
    return np.sort(left[:taken]), np.sort(order[:held])


def starting_parts(
    weights: str, tower: TorchEncoder, sigmas: Sequence[float], seed: int
) -> GeoClipParts:
    """The parts to train on this tower's features, with their changing tensors marked.

    Raises ConfigError where the weights are of another tower or of other frequencies,
    MissingWeights.
    """
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return GeoClipParts(tower.dim, sigmas)
    parts, about = geoclip_towers.load(weights)
    width = parts.image_encoder["mlp"][0].in_features  # type: ignore[index]
    if width != tower.dim or about.get("encoder", tower.name) != tower.name:
        raise ConfigError(
            f"The GeoCLIP weights {weights!r} belong to"
            f" {about.get('encoder', f'an image tower of {width} features')}, not to"
            f" {tower.name!r}. Name that encoder."
        )
    if list(parts.location_encoder.sigmas) != list(sigmas):
        raise ConfigError(
            f"The GeoCLIP weights {weights!r} have sigma {list(parts.location_encoder.sigmas)}, not"
            f" {list(sigmas)}. Set [train.geoclip] sigma to theirs."
        )
    for name, tensor in parts.named_parameters():
        tensor.requires_grad_(
            not name.endswith(".b")
        )  # The Fourier features' directions are drawn once.
    return parts
