"""The nouns, in the order in which they flow:

Photo → Embedding → Neighbours → Prompt → Reply → Guess.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import UnreadablePhoto

if TYPE_CHECKING:
    from PIL.Image import Image

Embedding = NDArray[np.float32]
"""One unit-length row of shape (dim,)."""
Embeddings = NDArray[np.float32]
"""Unit-length rows of shape (n, dim)."""
RowNumbers = NDArray[np.int64]
"""Numbers of gallery rows, each once, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Location:
    """A point on Earth, in degrees of WGS84. Raises ValueError for anything else."""

    lat: float
    lon: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lat) and -90 <= self.lat <= 90):
            raise ValueError(f"latitude {self.lat} is not between -90 and 90")
        if not (math.isfinite(self.lon) and -180 <= self.lon <= 180):
            raise ValueError(f"longitude {self.lon} is not between -180 and 180")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph: a file, or bytes that came by another way (then `path` is only its name).

    `data` may also be what gives the bytes when they are needed, as for a photograph in a tar file.
    """

    path: Path
    data: bytes | Callable[[], bytes] | None = field(default=None, repr=False)
    _digest: str = field(default="", init=False, repr=False, compare=False)

    def image(self, side: int | None = None, *, shorter: int | None = None) -> Image:
        """Decode it: upright, RGB, 8 bits, no metadata. Raises UnreadablePhoto.

        With `side`, a longer side of at least so many pixels is enough, with `shorter`, a shorter
        side: large JPEGs give that at a fraction of the time.
        """
        from img2loc.core import images

        return images.upright(self.path if self.data is None else self._bytes(), side, shorter)

    def jpeg(self, side: int) -> bytes:
        """Re-encode it as a small JPEG (longer side at most `side` px) with no metadata.

        Raises UnreadablePhoto.
        """
        from img2loc.core import images

        return images.jpeg(self.image(side), side)

    def digest(self) -> str:
        """SHA-256 of its bytes, in hex, as they were when this was first asked.

        Raises UnreadablePhoto where there are none.
        """
        if (
            not self._digest
        ):  # Every prompt, reply and cached reply is found by it: the file is read for it once.
            object.__setattr__(self, "_digest", hashlib.sha256(self._bytes()).hexdigest())
        return self._digest

    def _bytes(self) -> bytes:
        if self.data is not None:
            return self.data if isinstance(self.data, bytes) else self.data()
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UnreadablePhoto(error.strerror or str(error)) from error


NOT_A_PHOTO = Photo(Path())
"""Stands where there is no photograph."""
PhotoLike = Photo | str | os.PathLike[str]
"""What a locator accepts as a photograph."""


def as_photos(photos: Iterable[PhotoLike]) -> Iterator[Photo]:
    """Wrap paths as Photos, lazily;

    Photos stay what they are. Raises TypeError for a single path: its letters are no photos.
    """
    if isinstance(photos, str | os.PathLike | Photo):
        raise TypeError(f"photographs come as a list or another iterable: [{photos!r}]")
    return (photo if isinstance(photo, Photo) else Photo(Path(photo)) for photo in photos)


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a source: a photograph, a point or a text whose place is known.

    A point has no photograph (`NOT_A_PHOTO`), and a text neither: `text` is what a text tower
    reads. `source` is the name of the source that it came from, where there are several.
    """

    id: str
    location: Location
    photo: Photo = NOT_A_PHOTO
    label: str = ""
    author: str = ""
    license: str = ""
    text: str = ""
    source: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An input that gave nothing, and why: it takes its place in the stream, so that nothing is lost in silence."""

    id: str
    reason: str


class Hits(NamedTuple):
    """Gallery rows and their similarities to a query, both of shape (k,): best first, ties by row number."""

    rows: RowNumbers
    similarities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The nearest and the farthest rows of one query;

    `log_sum_exp` is the logarithm of a softmax's denominator.
    """

    nearest: Hits
    farthest: Hits
    log_sum_exp: float | None = None


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A gallery entry beside a query; `similarity` is the cosine, from -1 to 1.

    `probability` is its share of the softmax over the whole gallery, where encoder and gallery
    define one.
    """

    location: Location
    similarity: float
    id: str
    label: str = ""
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Both ends of the gallery: most similar first, and least similar first."""

    nearest: tuple[Neighbour, ...] = ()
    farthest: tuple[Neighbour, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """The words and the photograph that go to an LMM;

    `sample` counts the times that the same is asked again.
    """

    text: str
    photo: Photo
    sample: int = 0

    def key(self) -> str:
        """SHA-256 of photograph, words and sample: what a recorded reply is found by.

        Raises UnreadablePhoto.
        """
        return hashlib.sha256(
            f"{self.photo.digest()}\n{self.sample}\n{self.text}".encode()
        ).hexdigest()


ReplyStatus = Literal["answered", "refused", "truncated", "failed"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a reply took, as the server counted them, and what was paid for them now, where the price is known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What an LMM said, word for word;

    `detail` says why where the status is not "answered", `key` is the prompt's.
    """

    text: str
    model: str
    status: ReplyStatus
    usage: Usage | None = None
    detail: str = ""
    key: str = ""

    def again(self) -> Self:
        """The same reply given from a record: its tokens as they were counted, and no money, for nothing is paid again."""
        return replace(self, usage=replace(self.usage or Usage(), cost_usd=0.0))


GuessStatus = Literal["located", "unsure", "refused", "unparsed", "unreadable", "failed"]


@dataclass(frozen=True, slots=True)
class Guess:
    """Where a photograph was taken, or why that cannot be said: no answer is data, never an exception.

    `location` is set exactly when `status` is "located". `radius_km` is how far the evidence
    scatters around it; None where there is no evidence to measure (a zero-shot LMM).
    """

    photo: Photo
    status: GuessStatus
    location: Location | None = None
    radius_km: float | None = None
    neighbours: Neighbours = Neighbours()
    prompts: tuple[str, ...] = ()
    replies: tuple[Reply, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The town nearest to a location; `distance_km` is how far away its centre is."""

    name: str
    region: str
    country: str
    country_code: str
    distance_km: float
