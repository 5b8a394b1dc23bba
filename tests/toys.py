"""A third party's encoder, as a config would name it: `kind = "tests.toys:PixelEncoder"`."""

from collections.abc import Iterable, Iterator

import numpy as np

from img2loc.errors import UnreadablePhoto
from img2loc.types import Embedding, Photo, Rejected


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
