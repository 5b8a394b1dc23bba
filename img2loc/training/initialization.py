"""How a training begins: split of the photographs, initial weights, a random stream per purpose."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.protocols import Source
from img2loc.encoders.geoclip import load_parts
from img2loc.encoders.geoclip_towers import GeoClipParts, Projection
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.training.features import Features

RANDOM = "random"
"""Names the weights of a training from scratch."""
# Each purpose has its own random stream, so that the length of one does not shift another.
SPLIT, SAMPLE, START, EPOCH, VIEW = range(5)


def seed_of(*of: int) -> int:
    """A seed for one purpose: the user's seed, what it is for, and which one of these."""
    return int(np.random.SeedSequence(of).generate_state(1, np.uint64)[0] >> 1)


def split(
    photographers: Sequence[str], validation: float, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which rows to train on, and which to hold out: two sorted, disjoint arrays.

    `photographers` took the photograph of each row; "" is somebody unknown. Nobody's photographs
    are on both sides, because two of one walk are almost the same; photographers are held out in
    random order where theirs fit into the share. `fraction` is of what is not held out. With one
    seed, the rows of a smaller fraction are among those of a larger one, and both hold out the same
    rows. Raises SourceError where everybody has too many photographs to be held out, or fewer than
    two rows remain to train on: one has no other's place as a negative.
    """
    count = len(photographers)
    order = np.random.default_rng([seed, SPLIT]).permutation(count)
    rows_by: dict[str, list[int]] = defaultdict(list)
    for row in order.tolist():
        rows_by[photographers[row] or f"\n{row}"].append(row)
    room, held_out = math.ceil(validation * count), np.zeros(count, dtype=bool)
    for rows in rows_by.values():
        if len(rows) <= room:
            held_out[rows] = True
            room -= len(rows)
    if validation and not held_out.any():
        raise SourceError(
            f"Each of the {len(rows_by):,} photographers took more than a share of"
            f" {validation:g} of the {count:,} usable photographs, and nobody's may be both"
            " trained on and held out. Name a CSV of other people's for validation."
        )
    remaining = order[~held_out[order]]
    taken = round(fraction * len(remaining))
    if taken < 2:
        raise SourceError(
            f"Of {count} usable photographs, {held_out.sum()} are held out for validation, and a"
            f" fraction of {fraction:g} of the others is {taken}: training needs 2 or more."
        )
    return np.sort(remaining[:taken]), np.flatnonzero(held_out)


def split_features(
    features: Features, source: Source, validation: float | str, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`split` of features; none is held out where `validation` names a CSV of others."""
    share = 0.0 if isinstance(validation, str) else validation
    people = features.photographers(source) if share else [""] * len(features)
    return split(people, share, fraction, seed)


def starting_parts(
    weights: str,
    tower: TorchEncoder,
    sigmas: Sequence[float],
    projection: Projection,
    seed: int,
) -> GeoClipParts:
    """The parts to train on this tower's features, with `requires_grad` set.

    Raises ConfigError where the weights are of another tower, other frequencies or
    another projection, MissingWeights.
    """
    if weights == RANDOM:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return GeoClipParts(tower.dim, sigmas, projection)
    parts = load_parts(weights, tower)
    if list(parts.location_encoder.sigmas) != list(sigmas):
        raise ConfigError(
            f"The GeoCLIP weights {weights!r} have sigma {list(parts.location_encoder.sigmas)}, not"
            f" {list(sigmas)}. Set [train.geoclip] sigma to theirs."
        )
    if parts.location_encoder.projection != projection:
        raise ConfigError(
            f"The GeoCLIP weights {weights!r} have the projection"
            f" {parts.location_encoder.projection!r}. Set [train.geoclip] projection to it."
        )
    for name, tensor in parts.named_parameters():
        # The Fourier features' directions are fixed.
        tensor.requires_grad_(not name.endswith(".b"))
    return parts
