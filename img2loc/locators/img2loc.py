"""Img2Loc: nearest and farthest neighbours in the prompt of an LMM (Zhou et al., SIGIR 2024, arXiv 2403.19584)."""

from collections.abc import Iterable, Iterator

from img2loc.core.errors import ConfigError
from img2loc.core.protocols import LMM, Encoder
from img2loc.core.types import Guess, Neighbours, PhotoLike, Rejected, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.retriever import Exclusions, Retriever
from img2loc.lmm.prompts import Template
from img2loc.locators.lmm_stream import Question, Stream, ask, by_the_reply
from img2loc.locators.radius import EVIDENCE


class Img2Loc:
    """Retrieval-augmented prompting: the LMM sees the photograph, and the coordinates of both ends of the gallery.

    `nearest` and `farthest` are 16 each by default, as in the authors' released code; the paper
    gives no numbers. The radius is how far the 16 nearest neighbours scatter around the LMM's
    answer. Raises PromptError unless the prompt names exactly the ends that are searched.
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
    ) -> None:
        if nearest < 0 or farthest < 0:
            raise ConfigError(
                f"nearest is {nearest} and farthest {farthest}; neither may be below 0."
            )
        prompt.require(
            [end for end, count in (("nearest", nearest), ("farthest", farthest)) if count]
        )
        self._retriever = Retriever(encoder, gallery, exclusions)
        self._prompt = prompt
        self._lmm = lmm
        self._nearest = nearest
        self._farthest = farthest

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return ask(self._lmm, self._asked(photos), by_the_reply)

    def _asked(self, photos: Iterable[PhotoLike]) -> Stream:
        most = max(self._nearest, EVIDENCE)
        for photo, found in self._retriever.neighbours(as_photos(photos), most, self._farthest):
            if isinstance(found, Rejected):
                yield photo, found
            else:
                shown = Neighbours(found.nearest[: self._nearest], found.farthest)
                yield Question(photo, shown, (self._prompt.fill(photo, shown),), found.nearest)
