"""The roles: any class that has a role's methods is a backend; it need import nothing of ours.

Read types.py first. In the order in which a photograph meets them: Source, Encoder (PointEncoder,
TextEncoder, Verifier), VectorIndex, LMM, Locator; then what a class may have besides. Every role
that takes many photographs is a stream that keeps its order: one result for each, lazily.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from img2loc.core.hub import HubFiles
from img2loc.core.types import (
    Embedding,
    Embeddings,
    Guess,
    Item,
    Location,
    Photo,
    PhotoLike,
    Prompt,
    Rejected,
    Reply,
    RowNumbers,
    SearchResult,
)


class Source(Protocol):
    """Entries whose place is known: what a gallery is built from."""

    path: Path
    fingerprint: str
    """Changes with the entries, so that an interrupted build resumes with the same ones only."""

    def __len__(self) -> int:
        """About how many entries: a guide for progress."""

    def __iter__(self) -> Iterator[Item | Rejected]:
        """The entries, always in the same order; an unusable one takes its place as a Rejected."""


class Encoder(Protocol):
    """Photographs → unit-length vectors."""

    @property
    def name(self) -> str:
        """One line, stamped on every gallery: changes with model, weights and preprocessing."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """For each photo a float32 unit-length row, shape (dim,), or why it cannot be decoded."""


class PointEncoder(Protocol):
    """Points on Earth → unit-length vectors (GeoCLIP's location tower)."""

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        """Float32 unit-length rows of shape (len(points), dim)."""


class TextEncoder(Protocol):
    """Texts → unit-length vectors (CLIP's text tower)."""

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Float32 unit-length rows of shape (len(texts), dim)."""


class Verifier(Encoder, PointEncoder, Protocol):
    """Photographs and points in one space: their similarity says how well they match (GeoCLIP)."""


class VectorIndex(Protocol):
    """A gallery's unit vectors, searched by inner product; vector i is that of the gallery's row i.

    FAISS files, parts on a cluster, or a table in a database.
    """

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    @property
    def exact(self) -> bool:
        """Whether a search compares every vector, and gives `similarities` and a softmax."""

    def __len__(self) -> int:
        """Number of vectors."""

    def search(
        self,
        queries: Embeddings,
        nearest: int,
        farthest: int,
        excluded: Sequence[RowNumbers],
        scale: float | None = None,
    ) -> Sequence[SearchResult]:
        """The `nearest` most and `farthest` least similar rows of each query, shape (n, dim).

        `excluded` has, for each query, the rows to leave out. With `scale`, an exact index gives
        log Σ exp(scale · similarity) over the other rows; of parts, join them by `np.logaddexp`.
        """

    def similarities(self, queries: Embeddings) -> Embeddings:
        """Each query's similarity to every row, shape (n, rows), float32, of an exact index."""

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        """All vectors as they are stored, in batches of shape (n, dim), in any order."""


class LMM(Protocol):
    """A large multimodal model: prompts with a photograph → replies."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt; what goes wrong with one is its status.

        Raises BackendError when no prompt can be answered.
        """


class Locator(Protocol):
    """Photographs → guesses."""

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo."""


# What a class may have besides, and how it is read.


def scale_of(encoder: object) -> float | None:
    """An encoder's `scale`: the factor in its softmax over similarities, exp of CLIP's."""
    scale: float | None = getattr(encoder, "scale", None)
    return scale


def views_of(encoder: object) -> str:
    """An encoder's `views`: "single" (the default), or how else a photograph becomes a vector."""
    return str(getattr(encoder, "views", "single"))


@runtime_checkable
class EncodesQueries(Protocol):
    """An encoder whose queries are other vectors than a gallery's rows of the same photographs."""

    def encode_queries(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """As `Encoder.encode`, for photographs that are asked about."""


def queries_of(encoder: Encoder, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
    """Photographs that are asked about → vectors to search a gallery of the encoder's rows with."""
    ask = encoder.encode_queries if isinstance(encoder, EncodesQueries) else encoder.encode
    return ask(photos)


@dataclass(frozen=True, slots=True)
class Deferred:
    """An encoder that is loaded when it is first needed, and the device it will compute on."""

    load: Callable[[], Encoder]
    device: str = "auto"


@runtime_checkable
class LocationAlone(Protocol):
    """An encoder whose location tower works without the image tower, and needs none of its weights.

    The image tower is its class's parameter `encoder`, which takes a Deferred one too.
    """

    location_name: str
    """One line, stamped on galleries of points: changes with the location tower alone."""


LEAST_COSINE = 0.999
"""Between the vectors of an encoder and of the one that it stands in for, of any photograph."""


@runtime_checkable
class StandsIn(Protocol):
    """An encoder that was made from another, such as an exported one, for its galleries' queries.

    `of` has the names of the other's galleries (`names_of`), `worst_cosine` is the least that was
    found between their vectors of one photograph.
    """

    of: tuple[str, ...]
    worst_cosine: float


def name_for(encoder: Encoder, of: str) -> str:
    """The name stamped on a gallery of "photos", "points" or "texts" that an encoder builds."""
    if of == "points" and isinstance(encoder, LocationAlone):
        return encoder.location_name
    return encoder.name


def names_of(encoder: Encoder) -> list[str]:
    """The names of the galleries that an encoder's queries may search: its own comes first.

    One with a location tower of its own name has also built galleries of points by its whole name.
    One that stands in for another searches that one's, if their vectors agree to LEAST_COSINE.
    """
    alone = [encoder.location_name] if isinstance(encoder, LocationAlone) else []
    original: tuple[str, ...] = ()
    if isinstance(encoder, StandsIn) and encoder.worst_cosine >= LEAST_COSINE:
        original = encoder.of
    return [encoder.name, *alone, *original]


@runtime_checkable
class NeedsFiles(Protocol):
    """A class of encoders or LMMs that takes files from a hub."""

    @classmethod
    def needs(cls, **arguments: Any) -> HubFiles | None:
        """The files, for the constructor's arguments; None where they are local."""


def files_needed(make: object, arguments: Mapping[str, Any]) -> HubFiles | None:
    """What a class takes from a hub with these arguments; None for nothing."""
    return make.needs(**arguments) if isinstance(make, NeedsFiles) else None


@runtime_checkable
class HasEndpoint(Protocol):
    """A class of LMMs that says where it sends photographs; --local-only refuses others."""

    @classmethod
    def endpoint(cls, **arguments: Any) -> str | None:
        """An address or a provider, for the constructor's arguments; None for this process."""


@runtime_checkable
class NeedsKey(Protocol):
    """A class of LMMs that needs a key or a server from the environment."""

    @classmethod
    def lacks(cls, **arguments: Any) -> str:
        """What to set, for the constructor's arguments; "" where nothing is missing."""


@runtime_checkable
class IgnoresProxies(Protocol):
    """A class of LMMs that says whether it sends to this machine without a proxy."""

    ignores_proxies: bool


@runtime_checkable
class Cacheable(Protocol):
    """A class of LMMs that says whether its replies are worth keeping; by default they are."""

    cacheable: bool


@runtime_checkable
class SeveralPhotos(Protocol):
    """A class of LMMs that says whether it sends the photographs in `Prompt.shown` too."""

    several_photos: bool


@runtime_checkable
class Structured(Protocol):
    """An LMM that can ask for replies in a JSON schema's form."""

    structured: bool
    """Whether it does so: false once a server has refused."""
