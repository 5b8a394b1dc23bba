"""GeoCLIP's contrastive loss over photographs and points: noise, queue of negatives, masking.

Points are float64 tensors of (lat, lon) in degrees, shape (n, 2), on the CPU. The queue is that of
MoCo (He et al., CVPR 2020), with points in place of embeddings.
"""

from __future__ import annotations

import math

import torch
from torch.nn.functional import cross_entropy, normalize

from img2loc.core.geo import EARTH_RADIUS_KM

_EARTH_RADIUS_M = EARTH_RADIUS_KM * 1000
_ONE_PLACE_M = 1.0
"""Closer points are always of one place: a cosine in double precision resolves centimetres."""


def shifted(points: torch.Tensor, metres: float, random: torch.Generator) -> torch.Tensor:
    """Points with Gaussian noise of this standard deviation to the north and to the east.

    The noise is on the sphere and not in degrees: near a pole or the antimeridian it is the same.
    """
    lat, lon = torch.deg2rad(points).unbind(1)
    zero = torch.zeros_like(lat)
    at = _on_the_sphere(points)
    north = torch.stack([-lat.sin() * lon.cos(), -lat.sin() * lon.sin(), lat.cos()], 1)
    east = torch.stack([-lon.sin(), lon.cos(), zero], 1)
    steps = torch.randn(len(points), 2, generator=random, dtype=torch.float64) * (
        metres / _EARTH_RADIUS_M
    )
    angle = torch.linalg.vector_norm(steps, dim=1, keepdim=True)
    towards = (steps[:, :1] * north + steps[:, 1:] * east) / angle.clamp_min(1e-300)
    x, y, z = (angle.cos() * at + angle.sin() * towards).unbind(1)
    return torch.rad2deg(torch.stack([torch.atan2(z, torch.hypot(x, y)), torch.atan2(y, x)], 1))


def same_place(a: torch.Tensor, b: torch.Tensor, metres: float) -> torch.Tensor:
    """Which points of `b` are within so many metres, or 1, of which of `a`: (len(a), len(b))."""
    angle = min(max(metres, _ONE_PLACE_M) / _EARTH_RADIUS_M, math.pi)
    return (_on_the_sphere(a) @ _on_the_sphere(b).T) > math.cos(angle)


def not_negatives(batch: torch.Tensor, queue: torch.Tensor, metres: float) -> torch.Tensor:
    """False negatives: points of batch and queue to mask in a photograph's softmax.

    Booleans of shape (n, n + len(queue)): the points within so many metres, or 1, of the
    photograph's own, except its own itself. The paper leaves open what becomes of two photographs
    of one place; as each other's negatives they would unlearn what they teach.
    """
    excluded = same_place(batch, torch.cat([batch, queue]), metres)
    excluded[range(len(batch)), range(len(batch))] = False
    return excluded


def contrast(
    images: torch.Tensor, places: torch.Tensor, scale: torch.Tensor, excluded: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of photographs, shape (n, dim), over places, shape (m, dim), as in InfoNCE.

    Place i belongs to photograph i; `excluded`, shape (n, m), masks places in its softmax.
    """
    logits = scale * normalize(images, dim=1) @ normalize(places, dim=1).T
    targets = torch.arange(len(images), device=images.device)
    return cross_entropy(logits.masked_fill(excluded.to(images.device), -math.inf), targets)


class Queue:
    """The latest `size` points of past batches, first in, first out; empty at the beginning."""

    def __init__(self, size: int, points: torch.Tensor | None = None) -> None:
        self._size = size
        self.points = torch.empty(0, 2, dtype=torch.float64) if points is None else points

    def push(self, points: torch.Tensor) -> None:
        """Add a batch's points and drop the oldest."""
        joined = torch.cat([self.points, points])
        self.points = joined[max(0, len(joined) - self._size) :]


def _on_the_sphere(points: torch.Tensor) -> torch.Tensor:
    lat, lon = torch.deg2rad(points).unbind(1)
    return torch.stack([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()], 1)
