"""The nouns, in the order of the data flow: Photo → Neighbours → Prompt → Reply → Guess."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

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

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", Path(self.path))  # It may have been given as a str.

    def image(self, side: int | None = None, *, shorter: int | None = None) -> Image:
        """Decode it: upright, RGB, 8 bits, no metadata. Raises UnreadablePhoto.

        With `side`, a longer side of at least so many pixels is enough, with `shorter`, a shorter
        side: large JPEGs give that at a fraction of the time.
        """
        from img2loc.core import images

        return images.upright(self.path if self.data is None else self._bytes(), side, shorter)

    def jpeg(self, side: int, quality: int = 85) -> bytes:
        """Re-encode it as a small JPEG (longer side at most `side` px) with no metadata.

        Raises UnreadablePhoto.
        """
        from img2loc.core import images

        return images.jpeg(self.image(side), side, quality)

    def digest(self) -> str:
        """SHA-256 of its bytes, in hex, as they were when this was first asked.

        Raises UnreadablePhoto where there are none.
        """
        if not self._digest:  # Kept: every prompt, reply and cached reply is looked up by it.
            object.__setattr__(self, "_digest", hashlib.sha256(self._bytes()).hexdigest())
        return self._digest

    def short_digest(self) -> str:
        """The first 64 bits of its digest, in hex, as galleries keep them; "" where unreadable."""
        try:
            return self.digest()[:16]
        except UnreadablePhoto:
            return ""

    def _bytes(self) -> bytes:
        if self.data is not None:
            return self.data if isinstance(self.data, bytes) else self.data()
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise UnreadablePhoto(error.strerror or str(error)) from error


NOT_A_PHOTO = Photo(Path())  # Of an Item that has none.
PhotoLike = Photo | str | os.PathLike[str]
"""What a locator accepts as a photograph."""


def as_photos(photos: Iterable[PhotoLike]) -> Iterator[Photo]:
    """Wrap paths as Photos, lazily. Raises TypeError for a single path in place of a list."""
    if isinstance(photos, str | os.PathLike | Photo):
        raise TypeError(f"photographs come as a list or another iterable: [{photos!r}]")
    return (photo if isinstance(photo, Photo) else Photo(Path(photo)) for photo in photos)


@dataclass(frozen=True, slots=True)
class Item:
    """A row of a source: a photograph, a point or a text whose place is known.

    A point and a text have no photograph (`NOT_A_PHOTO`); `text` is what a text tower reads.
    `source` is the name of its source, where there are several. `digest` is the beginning of its
    photograph's, once that has been read (`short_digest`).
    """

    id: str
    location: Location
    photo: Photo = NOT_A_PHOTO
    label: str = ""
    author: str = ""
    license: str = ""
    text: str = ""
    source: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An unusable input and the reason; it takes its place in the stream, so nothing vanishes."""

    id: str
    reason: str


class Hits(NamedTuple):
    """Gallery rows and their similarities to a query, shape (k,) each: best first, ties by row."""

    rows: RowNumbers
    similarities: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """One query's nearest and farthest rows, and the logarithm of its softmax's denominator."""

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
    """The gallery's most similar entries, and its least similar ones, each the extreme first."""

    nearest: tuple[Neighbour, ...] = ()
    farthest: tuple[Neighbour, ...] = ()

    def disjoint(self) -> Self:
        """Without an entry in both lists: of those of a small gallery each keeps its own half."""
        others = {(entry.id, entry.location) for entry in self.farthest}
        both = [key for entry in self.nearest if (key := (entry.id, entry.location)) in others]
        half = (len(both) + 1) // 2
        near, far = set(both[:half]), set(both[half:])
        return type(self)(
            tuple(entry for entry in self.nearest if (entry.id, entry.location) not in far),
            tuple(entry for entry in self.farthest if (entry.id, entry.location) not in near),
        )


Answer = Literal["coordinates", "place", "turn"]
"""What an LMM is asked for: a point, the name of a town, or an agent's turn."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """Text and photograph for an LMM; `sample` numbers repetitions of the same prompt, from 0.

    `answer` is what the text asks for; a JSON schema of coordinates fits "coordinates" only.
    `shown` are further photographs, which follow the first. `to` numbers the LMM that it is for,
    where several are asked.
    """

    text: str
    photo: Photo
    sample: int = 0
    answer: Answer = "coordinates"
    shown: tuple[Photo, ...] = ()
    to: int = 0

    def key(self) -> str:
        """SHA-256 of photographs, sample and text, which finds a recorded reply.

        Raises UnreadablePhoto.
        """
        photos = " ".join(photo.digest() for photo in (self.photo, *self.shown))
        content = f"{photos}\n{self.sample}\n{self.text}"
        return hashlib.sha256(content.encode()).hexdigest()


ReplyStatus = Literal["answered", "refused", "truncated", "failed"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of a reply, as the server counted them, and what they cost now, if known."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An LMM's text, verbatim; `detail` is why the status is not "answered", `key` the prompt's."""

    text: str
    model: str
    status: ReplyStatus
    usage: Usage | None = None
    detail: str = ""
    key: str = ""

    def again(self) -> Self:
        """The same reply from a record: its tokens, and no cost, since nothing is paid again."""
        return replace(self, usage=replace(self.usage or Usage(), cost_usd=0.0))


@dataclass(frozen=True, slots=True)
class Step:
    """A call of a tool by an LMM, and what came of it.

    `arguments` are as checked, or as given where they did not fit; a `box` among them is [left,
    top, right, bottom] in shares of the photograph. `points` are the places in the result.
    """

    tool: str
    arguments: Mapping[str, Any]
    result: str
    points: tuple[Location, ...] = ()


GuessStatus = Literal["located", "unsure", "refused", "unparsed", "unreadable", "failed"]


@dataclass(frozen=True, slots=True)
class Guess:
    """Where a photograph was taken, or why there is no answer, which is data, not an exception.

    `location` is set exactly when `status` is "located"; `best` is what was too vague to be one,
    where `status` is "unsure". `spread_km` is how far the evidence scatters around it, None without
    evidence (a zero-shot LMM). `radius_km` holds the truth for the share `radius_share` of such
    photographs, None where no calibration says so. `replies` answer `prompts`, one each; `repairs`
    of them are second replies, asked for where the first gave no place. `steps` are an agent's.
    """

    photo: Photo
    status: GuessStatus
    location: Location | None = None
    spread_km: float | None = None
    neighbours: Neighbours = Neighbours()
    prompts: tuple[str, ...] = ()
    replies: tuple[Reply, ...] = ()
    detail: str = ""
    repairs: int = 0
    steps: tuple[Step, ...] = ()
    radius_km: float | None = None
    radius_share: float | None = None
    best: Location | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """The town nearest to a location; `distance_km` is how far away its centre is."""

    name: str
    region: str
    country: str
    country_code: str
    distance_km: float
