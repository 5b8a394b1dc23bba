"""An encoder and the gallery that it built → the neighbours of each photograph."""

from collections import deque
from collections.abc import Iterable, Iterator

from img2loc.gallery import Gallery
from img2loc.protocols import Encoder, scale_of
from img2loc.types import Neighbours, Photo, Rejected


class Retriever:
    """Encodes photographs and searches both ends of the gallery. Raises WrongEncoder if the two do not belong together."""

    def __init__(self, encoder: Encoder, gallery: Gallery) -> None:
        gallery.require(encoder.name)
        self._encoder = encoder
        self._gallery = gallery
        # Between two photographs the temperature of a model that was trained on something else means nothing.
        self._scale: float | None = None if gallery.of == "photos" else scale_of(encoder)

    def neighbours(
        self, photos: Iterable[Photo], nearest: int, farthest: int = 0
    ) -> Iterator[tuple[Photo, Neighbours | Rejected]]:
        """Each photograph with its neighbours, or with the reason why it cannot be decoded."""
        waiting: deque[Photo] = deque()

        def noted() -> Iterator[Photo]:
            for photo in photos:
                waiting.append(photo)
                yield photo

        for encoded in self._encoder.encode(noted()):
            photo = waiting.popleft()
            if isinstance(encoded, Rejected):
                yield photo, encoded
                continue
            ids, authors = self._gallery.exclusions(photo) if self._gallery.exclusions else ((), ())
            found = self._gallery.search(encoded, nearest, farthest, scale=self._scale, exclude_ids=ids, exclude_authors=authors)
            yield photo, found
