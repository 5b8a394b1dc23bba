"""Img2Loc: nearest and farthest neighbours in an LMM's prompt (SIGIR 2024, arXiv 2403.19584)."""

from collections.abc import Iterable, Iterator

from img2loc.core.errors import ConfigError
from img2loc.core.protocols import LMM, Encoder
from img2loc.core.types import (
    Answer,
    Guess,
    Neighbour,
    Neighbours,
    Photo,
    PhotoLike,
    Rejected,
    as_photos,
)
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Exclusions, Retriever
from img2loc.gallery.random_rows import random_rows
from img2loc.lmm.prompts import Template
from img2loc.locators.conversation import Conversation, Repair
from img2loc.locators.lmm_stream import Question, Stream, single_reply, stream_guesses
from img2loc.locators.shown import ShownNeighbours
from img2loc.locators.spread import NEIGHBOURS


class Img2Loc:
    """The LMM sees the photograph, and the coordinates of its nearest and farthest neighbours.

    `nearest` and `farthest` are 16 each by default, as in the authors' released code; the paper
    gives no numbers. The spread is how far the 16 nearest neighbours scatter around the LMM's
    answer. With `random_nearest`, the control of an experiment, the prompt shows rows drawn at
    random in place of the nearest, so that whatever is gained is not owed to their similarity. With
    `show`, so many of the nearest neighbours' photographs, looked up in the folder or archive
    `photos`, go into the prompt too. `answer` and `repair` are as in `Conversation`. Raises
    PromptError unless the prompt shows exactly what is searched for.
    """

    def __init__(
        self,
        encoder: Encoder,
        gallery: Gallery,
        prompt: Template,
        lmm: LMM,
        nearest: int = 16,
        farthest: int = 16,
        exclusions: Exclusions | None = None,
        random_nearest: bool = False,
        answer: Answer = "coordinates",
        repair: Repair = 0,
        show: int = 0,
        photos: str | None = None,
    ) -> None:
        if nearest < 0 or farthest < 0:
            raise ConfigError(
                f"nearest is {nearest} and farthest {farthest}; neither may be below 0."
            )
        prompt.require({name for name, k in (("nearest", nearest), ("farthest", farthest)) if k})
        prompt.require_answer(answer)
        self._shown = ShownNeighbours(gallery, photos, show) if show else None
        self._gallery = gallery
        self._exclusions = exclusions
        self._retriever = Retriever(encoder, gallery, exclusions)
        self._prompt = prompt
        self._talk = Conversation(lmm, answer, repair)
        self._nearest = nearest
        self._farthest = farthest
        self._random_nearest = random_nearest

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return stream_guesses(self._talk, self._questions(photos), single_reply(self._talk))

    def _questions(self, photos: Iterable[PhotoLike]) -> Stream:
        nearest = max(self._nearest, NEIGHBOURS)
        for photo, hits in self._retriever.neighbours(as_photos(photos), nearest, self._farthest):
            if isinstance(hits, Rejected):
                yield photo, hits
                continue
            shown = Neighbours(self._shown_as_nearest(photo, hits), hits.farthest).disjoint()
            prompt = self._prompt.fill(photo, shown, self._gallery.of, self._talk.answer)
            if self._shown is not None:
                prompt = self._shown.add(prompt, shown.nearest)
            yield Question(photo, shown, (prompt,), hits.nearest)

    def _shown_as_nearest(self, photo: Photo, hits: Neighbours) -> tuple[Neighbour, ...]:
        if not self._random_nearest:
            return hits.nearest[: self._nearest]
        excluded = () if self._exclusions is None else self._exclusions(photo)
        return random_rows(self._gallery, photo, self._nearest, excluded)
