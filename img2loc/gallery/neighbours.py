"""An encoder and the gallery that it built → the neighbours of each photograph."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from img2loc.core.protocols import Encoder, names_of, queries_of, scale_of
from img2loc.core.types import Embedding, Neighbours, Photo, Rejected, RowNumbers
from img2loc.gallery.gallery import Gallery


class Exclusions(Protocol):
    """The rows of a gallery that a photograph must not have among its neighbours."""

    similarity: float
    """Rows of photographs at least so similar to it are none of its neighbours either."""

    def __call__(self, photo: Photo) -> RowNumbers:
        """All rows that are excluded for it, as far as they are known."""

    def add(self, photo: Photo, rows: RowNumbers) -> None:
        """Exclude the rows that turned out to be so similar to it."""


class Retriever:
    """Encodes photographs and searches a gallery for their nearest and farthest rows.

    Raises WrongEncoder unless the encoder built the gallery.
    """

    def __init__(
        self, encoder: Encoder, gallery: Gallery, exclusions: Exclusions | None = None
    ) -> None:
        gallery.require(*names_of(encoder))
        self._encoder = encoder
        self._gallery = gallery
        self._exclusions = exclusions
        # Between two photographs the temperature of a model that was trained on something else
        # means nothing.
        self._scale: float | None = None if gallery.of == "photos" else scale_of(encoder)

    def neighbours(
        self, photos: Iterable[Photo], nearest: int, farthest: int = 0
    ) -> Iterator[tuple[Photo, Neighbours | Rejected]]:
        """Each photograph with its neighbours, or with the reason why it cannot be decoded."""
        pending: deque[Photo] = deque()

        def queued() -> Iterator[Photo]:
            for photo in photos:
                pending.append(photo)
                yield photo

        for encoded in queries_of(self._encoder, queued()):
            photo = pending.popleft()
            if isinstance(encoded, Rejected):
                yield photo, encoded
                continue
            yield photo, self._search(photo, encoded, nearest, farthest)

    def _search(self, photo: Photo, query: Embedding, nearest: int, farthest: int) -> Neighbours:
        gallery, exclusions = self._gallery, self._exclusions
        if exclusions is None:
            return gallery.search(query, nearest, farthest, scale=self._scale)
        found = gallery.search(
            query, nearest, farthest, scale=self._scale, excluded=exclusions(photo)
        )
        # Whatever its name, a photograph so similar is a copy; points and texts are no photographs.
        if gallery.of == "photos" and any(
            entry.similarity >= exclusions.similarity for entry in (*found.nearest, *found.farthest)
        ):
            exclusions.add(photo, gallery.rows_within(query, exclusions.similarity))
            found = gallery.search(query, nearest, farthest, excluded=exclusions(photo))
        return found
