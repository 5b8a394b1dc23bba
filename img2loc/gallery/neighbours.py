"""An encoder and the gallery that it built → the neighbours of each photograph."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator

from img2loc.core.protocols import Encoder, names_of, scale_of
from img2loc.core.types import Neighbours, Photo, Rejected, RowNumbers
from img2loc.gallery.gallery import Gallery

Exclusions = Callable[[Photo], RowNumbers]
"""The rows of a gallery that a photograph must not have among its neighbours."""


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

        for encoded in self._encoder.encode(queued()):
            photo = pending.popleft()
            if isinstance(encoded, Rejected):
                yield photo, encoded
                continue
            excluded = self._exclusions(photo) if self._exclusions else ()
            neighbours = self._gallery.search(
                encoded, nearest, farthest, scale=self._scale, excluded=excluded
            )
            yield photo, neighbours
