"""Base of our encoders: photographs are decoded ahead in threads, and run in batches; no torch."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Generic, TypeVar

import numpy as np

from img2loc.core.errors import ConfigError, MissingWeights, UnreadablePhoto, first_line
from img2loc.core.types import Embedding, Photo, Rejected

if TYPE_CHECKING:
    from PIL.Image import Image

Input = TypeVar("Input")
Pixels = TypeVar("Pixels")
"""A model's input for one photograph, shape (channels, height, width): of torch or of numpy."""
_MOST_WORKERS = 32
_SHORTER_SIDE = 2.5
"""The shorter side to which a JPEG may be decoded, in sides of the model's input. Models resize to
1 to 1.15 of them, so that at least twice as many pixels a side remain to resize from; the vector
moves by less than tests/encoders/test_encoders.py allows."""


class BatchedEncoder(ABC, Generic[Pixels]):
    """A subclass says how to `prepare` one image, and which `_rows` a batch of them gives.

    `size` is the side of the model's input in pixels, `scale` the factor by which its softmax over
    similarities was trained (exp of CLIP's logit scale), None for a model that has none. Raises
    ConfigError for a batch size below 1.
    """

    def __init__(self, device: str, batch_size: int) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be 1 or more.")
        self.batch_size = batch_size
        self.device = device
        self._workers = min(_MOST_WORKERS, os.cpu_count() or 1)
        self.size = 0
        self.scale: float | None = None
        self.views = "single"
        self._dim = 0
        self._name = ""

    @property
    def name(self) -> str:
        """Kind, dimensions, input size, fingerprint of architecture, weights and preprocessing."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self._dim

    @abstractmethod
    def prepare(self, image: Image) -> Pixels:
        """One upright RGB image → the model's input."""

    @abstractmethod
    def _rows(self, inputs: list[Pixels]) -> Iterable[Embedding]:
        """A batch of inputs → a unit row for each; a GPU may still be computing them."""

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One float32 unit row for each photo, in order, or the reason why it has none."""
        for photo, row in self.run(photos, self._decode, self._rows):
            if isinstance(row, str):
                yield Rejected(str(photo.path), row)
            elif not 1e-3 < float(np.linalg.norm(row)) < 1 + 1e-3:
                # Zeros, NaN or infinity; the mean of several views is shorter than 1.
                yield Rejected(str(photo.path), "the model gives it no vector")
            else:
                yield row

    def run(
        self,
        inputs: Iterable[Input],
        decode: Callable[[Input], Pixels],
        forward: Callable[[list[Pixels]], Iterable[Embedding]],
    ) -> Iterator[tuple[Input, Embedding | str]]:
        """Each input with its row, in order, or with the reason why it cannot be decoded.

        While `forward` runs over one batch, threads decode the next. A GPU is given a batch before
        the rows of the one before are taken from it, so that it need not wait for them.
        """
        upcoming = iter(inputs)
        first = list(islice(upcoming, 2))
        if len(first) < 2:
            # Without threads: torch's work in a second one has its cores spin while the model runs.
            yield from _run_batch([(item, _decoded(decode, item)) for item in first], forward)
            return
        upcoming = chain(first, upcoming)
        most_ahead = 2 * max(self.batch_size, self._workers)
        ahead: deque[tuple[Input, Future[Pixels | str]]] = deque()
        with ThreadPoolExecutor(self._workers, thread_name_prefix="decode") as pool:

            def look_ahead() -> None:
                for item in islice(upcoming, most_ahead - len(ahead)):
                    ahead.append((item, pool.submit(_decoded, decode, item)))

            try:
                look_ahead()
                running: Iterator[tuple[Input, Embedding | str]] = iter(())
                while ahead:
                    batch = [ahead.popleft() for _ in range(min(self.batch_size, len(ahead)))]
                    decoded = [(item, future.result()) for item, future in batch]
                    look_ahead()
                    rows = _run_batch(decoded, forward)
                    if self.device.startswith("cuda"):
                        rows, running = running, rows
                    yield from rows
                yield from running
            finally:
                pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, photo: Photo) -> Pixels:
        return self.prepare(photo.image(shorter=math.ceil(_SHORTER_SIDE * self.size)))


def _decoded(decode: Callable[[Input], Pixels], item: Input) -> Pixels | str:
    try:
        return decode(item)
    except UnreadablePhoto as error:
        return str(error)


def _run_batch(
    decoded: list[tuple[Input, Pixels | str]],
    forward: Callable[[list[Pixels]], Iterable[Embedding]],
) -> Iterator[tuple[Input, Embedding | str]]:
    """Start a batch; its rows are taken from the device when the first of them is asked for."""
    inputs = [pixels for _, pixels in decoded if not isinstance(pixels, str)]
    rows = iter(forward(inputs) if inputs else ())

    def merged() -> Iterator[tuple[Input, Embedding | str]]:
        for item, pixels in decoded:
            yield item, pixels if isinstance(pixels, str) else next(rows)

    return merged()


@contextmanager
def loading(failure: str) -> Iterator[None]:
    """Raise MissingWeights, `failure` and the reason, for whatever is raised in the block."""
    try:
        yield
    except Exception as error:  # A torn file can make loaders and unpicklers raise anything.
        raise MissingWeights(f"{failure}: {first_line(error)}") from error
