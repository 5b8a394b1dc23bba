"""GeoCLIP's accuracy while it is trained: shares within the literature's five distances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from img2loc.core.geo import THRESHOLDS_KM, Array, distances_km, hits
from img2loc.encoders.geoclip_towers import GeoClipParts

_BATCH = 1024


class Accuracy:
    """Places photographs by arg-max over a gallery of coordinates, as GeoCLIP does.

    `gallery` holds (lat, lon), shape (n, 2), of training photographs only: with the coordinates of
    the photographs that are measured in it, the answers would leak.
    """

    def __init__(self, parts: GeoClipParts, gallery: Array, device: str) -> None:
        self._parts, self._gallery, self._device = parts, gallery, device
        batches = torch.split(torch.from_numpy(gallery).float().to(device), _BATCH)
        with torch.no_grad():
            self._places = torch.cat([normalize(parts.location_encoder(at)) for at in batches])
        tensors = (self._places, *parts.image_encoder.parameters(), parts.logit_scale)
        self.finite = all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
        """Whether weights and embeddings are free of NaN and infinity."""

    def places(
        self,
        rows: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], NDArray[np.float32]],
    ) -> Array:
        """Where these rows are placed: (lat, lon) in degrees, shape (n, 2)."""
        chosen: list[NDArray[np.int64]] = []
        for start in range(0, len(rows), _BATCH):
            batch = torch.from_numpy(features(rows[start : start + _BATCH])).to(self._device)
            with torch.no_grad():
                similarities = normalize(self._parts.head(batch)) @ self._places.T
            chosen.append(similarities.argmax(dim=1).cpu().numpy())
        return self._gallery[np.concatenate(chosen)]

    def shares(
        self,
        rows: NDArray[np.int64],
        features: Callable[[NDArray[np.int64]], NDArray[np.float32]],
        truth: Array,
    ) -> dict[str, float]:
        """Share of these rows placed within each of THRESHOLDS_KM of `truth`, shape (n, 2)."""
        errors = distances_km(self.places(rows, features), truth)
        shares = hits(errors).mean(axis=0).tolist()
        return {str(km): share for km, share in zip(THRESHOLDS_KM, shares, strict=True)}
