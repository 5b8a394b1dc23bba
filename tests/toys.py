"""A third party's backends, named in a configuration as `kind = "tests.toys:PixelEncoder"`."""

import csv
import os
import random
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.types import Embedding, Embeddings, Location, Photo, Prompt, Rejected, Reply


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


class CopyingLmm:
    """Answers with the first neighbour that it is shown; without any, with a point in the ocean."""

    cacheable = False

    @classmethod
    def endpoint(cls, **_: object) -> None:
        """Nowhere."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        for prompt in prompts:
            yield Reply(self.answer(prompt), type(self).__name__, "answered")

    def answer(self, prompt: Prompt) -> str:
        first = re.search(r"\(-?[\d.]+, -?[\d.]+\)", prompt.text)
        return first.group() if first else "(0.5, -140.5)"


class RandomLmm(CopyingLmm):
    """Answers with a random point, another for each prompt and sample."""

    def answer(self, prompt: Prompt) -> str:
        chance = random.Random(prompt.key())
        return f"({chance.uniform(-60, 70):.4f}, {chance.uniform(-180, 180):.4f})"


class HalfKnowingLmm(CopyingLmm):
    """Knows where half of a table's photographs were taken; of others it copies a neighbour."""

    def __init__(self, truth: str) -> None:
        with Path(truth).open(newline="") as file:
            rows = list(csv.DictReader(file))
        self._known = {Path(row["file"]).name: f"{row['lat']}, {row['lon']}" for row in rows[::2]}

    def answer(self, prompt: Prompt) -> str:
        return self._known.get(prompt.photo.path.name) or super().answer(prompt)


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
