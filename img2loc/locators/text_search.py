"""A text → the gallery entries and the regions of Earth that fit it (as GeoCLIP, NeurIPS 2023)."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import numpy as np

from img2loc.core.errors import ConfigError
from img2loc.core.geo import Array
from img2loc.core.protocols import Encoder, TextEncoder, names_of, scale_of
from img2loc.core.types import Embeddings, Neighbour
from img2loc.gallery.gallery import Gallery

CELL_DEGREES = 5.0
_ORIGIN = np.array([90.0, 180.0])


@dataclass(frozen=True, slots=True)
class Ranking:
    """The entries most similar to a text, and the gallery's probability by cell of the globe.

    `density` has rows of (latitude, longitude, probability), degrees at the cell's centre, cells of
    5° × 5°, densest first; it sums to 1 and leaves empty cells out. It is None for an encoder
    without a temperature, and for an index that does not score every row.
    """

    text: str
    nearest: tuple[Neighbour, ...]
    density: Array | None


class TextSearch:
    """Ranks a gallery by texts.

    Raises ConfigError for an encoder without a text tower, WrongEncoder for another's gallery.
    """

    def __init__(self, encoder: Encoder, gallery: Gallery) -> None:
        if not hasattr(encoder, "encode_texts"):
            raise ConfigError(
                f"{encoder.name!r} has no text tower. Choose a gallery by geoclip or a CLIP model."
            )
        gallery.require(*names_of(encoder))
        self._encoder = cast(TextEncoder, encoder)
        self._gallery = gallery
        self._scale = scale_of(encoder)

    def rank(self, texts: Iterable[str], k: int = 16) -> Iterator[Ranking]:
        """One ranking for each text, in order."""
        for text in texts:
            (query,) = self._encoder.encode_texts([text])
            hits = self._gallery.search(query, k, scale=self._scale)
            yield Ranking(text, hits.nearest, self._density(query[None]))

    def _density(self, query: Embeddings) -> Array | None:
        if self._scale is None or not self._gallery.index.exact:
            return None
        scores = self._scale * self._gallery.similarities(query)[0].astype(np.float64)
        share = np.exp(scores - scores.max())
        cells = (self._gallery.metadata.locations() + _ORIGIN) // CELL_DEGREES
        # The pole and the antimeridian belong to the last cells.
        cells = np.minimum(cells, (180 // CELL_DEGREES - 1, 360 // CELL_DEGREES - 1))
        unique, members = np.unique(cells, axis=0, return_inverse=True)
        mass = np.bincount(members.ravel(), share / share.sum())
        rows = np.column_stack([(unique + 0.5) * CELL_DEGREES - _ORIGIN, mass])
        return rows[np.argsort(-mass, kind="stable")]
