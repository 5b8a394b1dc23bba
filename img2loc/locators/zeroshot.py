"""Zero-shot: the LMM sees the photograph and nothing else."""

from collections.abc import Iterable, Iterator

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.protocols import LMM
from img2loc.core.types import Answer, Guess, Neighbours, PhotoLike, Rejected, as_photos
from img2loc.lmm.prompts import Template
from img2loc.locators.conversation import Conversation, Repair
from img2loc.locators.lmm_stream import Question, Stream, single_reply, stream_guesses


class Zeroshot:
    """Asks the LMM without neighbours; so a guess has no spread.

    `answer` and `repair` are as in `Conversation`. Raises PromptError for a prompt that does not
    fit.
    """

    def __init__(
        self,
        prompt: Template,
        lmm: LMM,
        answer: Answer = "coordinates",
        repair: Repair = 0,
    ) -> None:
        prompt.require([])
        prompt.require_answer(answer)
        self._prompt = prompt
        self._talk = Conversation(lmm, answer, repair)

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        return stream_guesses(self._talk, self._questions(photos), single_reply(self._talk))

    def _questions(self, photos: Iterable[PhotoLike]) -> Stream:
        for photo in as_photos(photos):
            try:
                photo.image(64)
            except UnreadablePhoto as error:
                yield photo, Rejected(str(photo.path), str(error))
            else:
                prompt = self._prompt.fill(photo, Neighbours(), answer=self._talk.answer)
                yield Question(photo, Neighbours(), (prompt,))
