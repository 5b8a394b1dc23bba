"""A source and an encoder of vectors with the spread of real ones, for galleries of any size.

The vectors come from GeoCLIP's own location tower: of the 100,000 points of its gallery, `base` are
taken, moved by about 5 km and embedded. A row is one of these vectors plus a quarter of another,
which keeps their covariance; with another dimension than 512 a fixed random isometry takes it
there; noise of length 0.1 in all directions is added, and length 1 restored. A row depends on its
number alone, so that a build that was cut off can be compared with one that was not.
"""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core.types import Embedding, Embeddings, Item, Location, Photo, Rejected

_BLOCK = 2000


class Synthetic:
    """Both: an encoder of "photographs" whose paths are numbers, and the source of them."""

    def __init__(self, rows: int, dim: int = 768, base: int = 20_000) -> None:
        random = np.random.default_rng(0)
        self._vectors, self._points = _tower(base, random)
        width = max(dim, 512)
        self._turn = np.linalg.qr(random.normal(size=(width, width)))[0][:512, :dim].astype(
            np.float32
        )
        self._rows, self.dim = rows, dim
        self.name = self.fingerprint = f"synthetic/{dim}d-{rows}-{base}"
        self.path = Path("synthetic")

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Rows, each at the point that most of its vector comes from."""
        for start in range(0, self._rows, _BLOCK):
            numbers = np.arange(start, min(start + _BLOCK, self._rows))
            places = self._points[self._chosen(numbers, 0)].tolist()
            for number, (lat, lon) in zip(numbers.tolist(), places, strict=True):
                yield Item(f"p{number}", Location(lat, lon), Photo(Path(str(number))))

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """The rows of these numbers."""
        numbers = (int(photo.path.name) for photo in photos)
        while block := list(islice(numbers, _BLOCK)):
            yield from self.vectors(np.array(block))

    def vectors(self, numbers: Any) -> Embeddings:
        """Unit rows, shape (n, dim); numbers from `len` on are in no gallery: they are queries."""
        mixed = (
            _unit(
                self._vectors[self._chosen(numbers, 0)]
                + 0.25 * self._vectors[self._chosen(numbers, 1)]
            )
            @ self._turn
        )
        noise = np.random.default_rng(int(numbers[0])).standard_normal(
            (len(numbers), self.dim), dtype=np.float32
        )
        return _unit(mixed + noise * np.float32(0.1 / self.dim**0.5))

    def queries(self, count: int) -> Embeddings:
        """Rows that are in no gallery."""
        return self.vectors(np.arange(self._rows, self._rows + count))

    def _chosen(self, numbers: Any, which: int) -> Any:
        """Numbers of points, as if drawn at random (splitmix64)."""
        mixed = (2 * numbers.astype(np.uint64) + np.uint64(which + 1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
        return ((mixed ^ (mixed >> np.uint64(31))) % np.uint64(len(self._vectors))).astype(np.int64)


def _tower(base: int, random: np.random.Generator) -> tuple[Embeddings, Any]:
    import torch

    from img2loc.encoders import geoclip_towers

    spec = find_spec("geoclip")
    package = Path(next(iter((spec.submodule_search_locations if spec else None) or [])))
    listed = np.loadtxt(
        package / "model" / "gps_gallery" / "coordinates_100K.csv", delimiter=",", skiprows=1
    )
    points = random.permutation(listed)[:base] + random.normal(scale=0.05, size=(base, 2))
    points = points.clip((-90, -180), (90, 180))
    parts, _ = geoclip_towers.load(geoclip_towers.PACKAGE)
    with torch.inference_mode():
        inputs = torch.tensor(points, dtype=torch.float32)
        return (
            _unit(
                torch.cat(
                    [parts.location_encoder(part) for part in torch.split(inputs, 2048)]
                ).numpy()
            ),
            points,
        )


def _unit(rows: Embeddings) -> Embeddings:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))
