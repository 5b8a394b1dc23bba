"""Zero-shot: the LMM sees the photograph and nothing else."""

from collections.abc import Iterable, Iterator

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.protocols import LMM
from img2loc.core.types import Guess, Neighbours, PhotoLike, Rejected, as_photos
from img2loc.lmm.prompts import Template
from img2loc.locators.lmm_stream import Question, Stream, single_reply, stream_guesses


class Zeroshot:
    """Asks the LMM without neighbours; so a guess has no radius."""

    def __init__(self, prompt: Template, lmm: LMM) -> None:
        prompt.require([])
        self._prompt = prompt
        self._lmm = lmm

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return stream_guesses(self._lmm, self._questions(photos), single_reply)

    def _questions(self, photos: Iterable[PhotoLike]) -> Stream:
        for photo in as_photos(photos):
            try:
                photo.image(64)
            except UnreadablePhoto as error:
                yield photo, Rejected(str(photo.path), str(error))
            else:
                yield Question(photo, Neighbours(), (self._prompt.fill(photo, Neighbours()),))
