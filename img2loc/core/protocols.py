"""The roles. A class of anybody's that has these methods is a backend; it need import nothing of ours.

Every role that meets many photographs is a stream that keeps its order: one thing out for each
thing in, lazily.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """Entries whose place is known: what a gallery is made of."""

    path: Path
    fingerprint: str
    """What changes with its entries, so that a build that was cut off goes on with the same ones only."""

    def __len__(self) -> int:
        """About how many entries: a guide for progress."""

    def __iter__(self) -> Iterator[Item | Rejected]:
        """The entries, always in the same order; what cannot be used takes its place, with the reason."""


class Encoder(Protocol):
    """Photographs → unit-length vectors."""

    @property
    def name(self) -> str:
        """One line that changes with model, weights and preprocessing; stamped on every gallery that it builds."""

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One float32 unit-length row of shape (dim,) for each photo, or the reason why it cannot be decoded."""


def scale_of(encoder: object) -> float | None:
    """The optional attribute `scale`: the trained factor before the softmax over similarities, exp of CLIP's logit scale."""
    scale: float | None = getattr(encoder, "scale", None)
    return scale


def views_of(encoder: object) -> str:
    """The optional attribute `views`: "single", or how else a photograph becomes a vector; stamped on what is embedded."""
    return str(getattr(encoder, "views", "single"))


@runtime_checkable
class NeedsFiles(Protocol):
    """A class of encoders or LMMs that takes files from a hub; optional."""

    @classmethod
    def needs(cls, **arguments: Any) -> HubFiles | None:
        """The files, for the constructor's arguments; None where they are local."""


def files_needed(make: object, arguments: Mapping[str, Any]) -> HubFiles | None:
    """What a class takes from a hub with these arguments, if anything."""
    return make.needs(**arguments) if isinstance(make, NeedsFiles) else None


class PointEncoder(Protocol):
    """Points on Earth → unit-length vectors (GeoCLIP's location tower)."""

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        """Float32 unit-length rows of shape (len(points), dim)."""


class TextEncoder(Protocol):
    """Texts → unit-length vectors (CLIP's text tower)."""

    def encode_texts(self, texts: Sequence[str]) -> Embeddings:
        """Float32 unit-length rows of shape (len(texts), dim)."""


class Verifier(Encoder, PointEncoder, Protocol):
    """Photographs and points in one space, so that their similarity says how well they belong together (GeoCLIP)."""


class VectorIndex(Protocol):
    """A gallery's unit vectors, searched by inner product: FAISS files, parts on a cluster, a table in a database.

    Vector i is that of the gallery's row i.
    """

    @property
    def dim(self) -> int:
        """Length of its vectors."""

    @property
    def exact(self) -> bool:
        """Whether a search compares every vector: no neighbour is missed, and `similarities` and softmax can be had."""

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
        """The `nearest` most and the `farthest` least similar rows for each query, shape (n, dim); fewer where there are fewer.

        `excluded` has, for each query, the rows that it must not see. With `scale`, an exact index
        gives log Σ exp(scale · similarity) over the other rows; logarithms of parts add up by
        `np.logaddexp`.
        """

    def similarities(self, queries: Embeddings) -> Embeddings:
        """The similarity of each query to every row, shape (n, rows), float32; only an exact index is asked."""

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        """All vectors as they are stored, in batches of shape (n, dim), in any order."""


class LMM(Protocol):
    """A large multimodal model: prompts with a photograph → replies."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt; what goes wrong with one is a status.

        Raises BackendError when no prompt can be answered.
        """


@runtime_checkable
class HasEndpoint(Protocol):
    """A class of LMMs that says where they send photographs; optional, but --local-only refuses others."""

    @classmethod
    def endpoint(cls, **arguments: Any) -> str | None:
        """An address or a provider, for the constructor's arguments;

        None where photographs stay in this process.
        """


@runtime_checkable
class NeedsKey(Protocol):
    """A class of LMMs that cannot be asked without a key or a server in the environment; optional."""

    @classmethod
    def lacks(cls, **arguments: Any) -> str:
        """What to set, for the constructor's arguments; "" where nothing is lacking."""


@runtime_checkable
class IgnoresProxies(Protocol):
    """A class of LMMs that says whether the environment's proxies see what it sends to this machine; optional."""

    ignores_proxies: bool


@runtime_checkable
class Cacheable(Protocol):
    """A class of LMMs that says whether its replies are worth keeping; optional, and true where it says nothing."""

    cacheable: bool


@runtime_checkable
class Structured(Protocol):
    """An LMM that can ask for its replies' form by JSON schema; optional."""

    structured: bool
    """Whether it does so: false once a server has refused."""


class Locator(Protocol):
    """Photographs → guesses."""

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo."""
