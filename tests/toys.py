"""A third party's encoders, named in a configuration as `kind = "tests.toys:PixelEncoder"`."""

import os
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.types import Embedding, Embeddings, Location, Photo, Rejected


class PixelEncoder:
    """Thumbnails as vectors: enough to tell photographs apart, and quick."""

    def __init__(self, side: int = 6) -> None:
        self._side = side
        self.name = f"pixels/{side}"
        self.dim = 3 * side * side

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for photo in photos:
            try:
                small = photo.image().resize((self._side, self._side))
            except UnreadablePhoto as error:
                yield Rejected(str(photo.path), str(error))
                continue
            vector = np.asarray(small, dtype=np.float32).ravel() - 127.5
            yield vector / np.linalg.norm(vector)


class HaltingEncoder(PixelEncoder):
    """Halts for good after HALT_AFTER photographs, so that a test can kill its process there."""

    def __init__(self, side: int = 6) -> None:
        super().__init__(side)
        self._left = int(os.environ.get("HALT_AFTER", sys.maxsize))

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for row in super().encode(photos):
            if self._left == 0:
                threading.Event().wait()
            self._left -= 1
            yield row


class PlaceEncoder(PixelEncoder):
    """Has a location tower too: points as vectors that tell them apart."""

    def encode_points(self, locations: Sequence[Location]) -> Embeddings:
        seeds = (abs(hash((at.lat, at.lon))) for at in locations)
        rows = [np.random.default_rng(seed).normal(size=self.dim) for seed in seeds]
        return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)
