"""How well GeoCLIP's parts place photographs while they are trained: shares within the literature's five distances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from img2loc.core.geo import THRESHOLDS_KM, Array, distances_km, hits
from img2loc.encoders.geoclip_towers import GeoClipParts

_BATCH = 1024


class Measure:
    """Places photographs by arg-max over a gallery of coordinates, as GeoCLIP does.

    `gallery` holds (lat, lon) of shape (n, 2), and must be of the training photographs only: with
    the coordinates of those that are measured in it, the answers would leak.
    """

    def __init__(self, parts: GeoClipParts, gallery: Array, device: str) -> None:
        self._parts, self._gallery, self._device = parts, gallery, device
        with torch.no_grad():
            degrees = torch.from_numpy(gallery).float().to(device)
            towers = [
                normalize(parts.location_encoder(batch), dim=1)
                for batch in torch.split(degrees, _BATCH)
            ]
        self._places = torch.cat(towers)
        weights = [*parts.image_encoder.parameters(), parts.logit_scale]
        self.finite = all(bool(torch.isfinite(tensor).all()) for tensor in (self._places, *weights))
        """Whether the weights still give numbers: those of a training that diverged give none."""

    def shares(
        self,
        rows: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        truth: Array,
    ) -> dict[str, float]:
        """Share of these rows that are placed within 1, 25, 200, 750 and 2500 km (`<=`) of `truth`, shape (len(rows), 2)."""
        chosen: list[NDArray[np.int64]] = []
        with torch.no_grad():
            for start in range(0, len(rows), _BATCH):
                batch = torch.from_numpy(features(rows[start : start + _BATCH])).to(self._device)
                chosen.append(
                    (normalize(self._parts.head(batch), dim=1) @ self._places.T)
                    .argmax(dim=1)
                    .cpu()
                    .numpy()
                )
        errors = distances_km(self._gallery[np.concatenate(chosen)], truth)
        shares = hits(errors).mean(axis=0).tolist()
        return {str(km): share for km, share in zip(THRESHOLDS_KM, shares, strict=True)}
