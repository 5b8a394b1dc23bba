"""A prompt → the same with photographs of the nearest neighbours in it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from img2loc.core.errors import ConfigError, UnreadablePhoto
from img2loc.core.types import Neighbour, Photo, Prompt
from img2loc.data.photo_store import Store
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.prompts import with_shown

MOST = 16
"""Photographs beside the one in question: servers take few, and each is paid for."""


class ShownNeighbours:
    """The photographs of a gallery's rows, looked up by their ids in `photos`.

    `photos` is a folder or archive, as in `index build --photos`. Raises ConfigError for a gallery
    of anything else, SourceError where there are no photographs.
    """

    def __init__(self, gallery: Gallery, photos: str | None, show: int) -> None:
        if not 0 < show <= MOST:
            raise ConfigError(f"show is {show}; it must be 0 to {MOST} neighbours' photos.")
        if gallery.of != "photos":
            raise ConfigError(
                f"The gallery {gallery.folder} is of {gallery.of}, so it has no photos to show. Set"
                " show = 0, or choose another gallery."
            )
        if photos is None:
            raise ConfigError(
                f'show = {show} needs the photos of the gallery: photos = "FOLDER" or an archive.'
            )
        self._show = show
        self._store = Store(Path(photos).expanduser())

    def add(self, prompt: Prompt, nearest: Sequence[Neighbour]) -> Prompt:
        """The prompt with the first photographs of these neighbours that can be read."""
        found = list(islice(self._found(nearest), self._show))
        if not found:
            return prompt
        neighbours, photos = zip(*found, strict=True)
        return replace(with_shown(prompt, neighbours), shown=photos)

    def _found(self, nearest: Sequence[Neighbour]) -> Iterator[tuple[Neighbour, Photo]]:
        photos = self._store.find([entry.id for entry in nearest])
        for entry, photo in zip(nearest, photos, strict=True):
            if not isinstance(photo, str) and _is_readable(photo):
                yield entry, photo


def _is_readable(photo: Photo) -> bool:
    try:
        photo.image(64)
    except UnreadablePhoto:
        return False
    return True
