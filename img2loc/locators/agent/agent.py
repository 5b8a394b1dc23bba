"""The agent: a dialogue about each photograph, many at a time, the guesses in order."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from img2loc.core.errors import BackendError, ConfigError
from img2loc.core.protocols import LMM, Encoder
from img2loc.core.types import Guess, Neighbours, Photo, PhotoLike, Prompt, Rejected, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Exclusions, Retriever
from img2loc.lmm.prompts import Template
from img2loc.locators.agent.dialogue import Budget, Dialogue
from img2loc.locators.agent.photo_tools import SimilarPhotos, Zoom
from img2loc.locators.agent.place_tools import DescribePlace, FindPlace
from img2loc.locators.agent.tools import Tool
from img2loc.locators.spread import NEIGHBOURS

TOOLS = ("zoom", "similar_photos", "find_place", "describe_place")
_AT_ONCE = 128
"""Photographs whose dialogues may have begun and not ended: more than any window of requests."""


class Agent:
    """The LMM calls `tools` before it answers: at most `turns` turns, `crops` pictures, `searches`.

    With `start` "neighbours" its first prompt shows the `nearest` and `farthest` neighbours, as
    img2loc's does; with "nothing" it has to search for them. The prompt is filled accordingly: the
    default one for neighbours, `zeroshot_prompt` for nothing. The spread is that of the 16 nearest
    neighbours around the answer. Raises ConfigError or PromptError for what does not fit.
    """

    def __init__(
        self,
        encoder: Encoder,
        gallery: Gallery,
        prompt: Template,
        zeroshot_prompt: Template,
        lmm: LMM,
        tools: Sequence[str] = TOOLS,
        start: Literal["neighbours", "nothing"] = "neighbours",
        nearest: int = 16,
        farthest: int = 16,
        turns: int = 6,
        crops: int = 5,
        searches: int = 8,
        result_tokens: int = 1024,
        exclusions: Exclusions | None = None,
    ) -> None:
        if min(turns, result_tokens) < 1 or min(crops, searches, nearest, farthest) < 0:
            raise ConfigError(
                f"turns {turns}, crops {crops}, searches {searches}, nearest {nearest}, farthest"
                f" {farthest}: turns must be 1 or more, the others not below 0."
            )
        if unknown := [name for name in tools if name not in TOOLS]:
            raise ConfigError(f"There is no tool {unknown[0]!r}. Known: {', '.join(TOOLS)}.")
        if start == "neighbours":
            prompt.require({key for key, k in (("nearest", nearest), ("farthest", farthest)) if k})
        else:
            zeroshot_prompt.require([])
        self._prompt = prompt if start == "neighbours" else zeroshot_prompt
        self._of, self._lmm = gallery.of, lmm
        self._retriever = Retriever(encoder, gallery, exclusions)
        made: dict[str, Tool] = {
            "zoom": Zoom(),
            "similar_photos": SimilarPhotos(self._retriever),
            "find_place": FindPlace(),
            "describe_place": DescribePlace(),
        }
        self._tools = [made[name] for name in tools]
        self._shown = (nearest, farthest) if start == "neighbours" else (0, 0)
        self._budget = Budget(turns, crops, searches, result_tokens)

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        upcoming = self._dialogues(photos)
        begun: deque[Dialogue | Guess] = deque()
        ready: deque[Dialogue] = deque()
        while True:
            asked: deque[tuple[Dialogue, Prompt]] = deque()
            for reply in self._lmm.ask(self._turns(upcoming, begun, ready, asked)):
                if not asked:
                    raise _miscounted(self._lmm)
                dialogue, prompt = asked.popleft()
                dialogue.take(prompt, reply)
                if dialogue.guess is None:
                    ready.append(dialogue)
                yield from _over(begun)
            if asked:
                raise _miscounted(self._lmm)
            yield from _over(begun)
            if not begun:
                return

    def _turns(
        self,
        upcoming: Iterator[Dialogue | Guess],
        begun: deque[Dialogue | Guess],
        ready: deque[Dialogue],
        asked: deque[tuple[Dialogue, Prompt]],
    ) -> Iterator[Prompt]:
        """The prompts that can be asked now: dialogues that go on come before new ones."""
        while True:
            if ready:
                dialogue = ready.popleft()
            else:
                new = next(upcoming, None) if len(begun) < _AT_ONCE else None
                if new is None:
                    return
                begun.append(new)
                if isinstance(new, Guess):
                    continue
                dialogue = new
            prompt = dialogue.prompt()
            asked.append((dialogue, prompt))
            yield prompt

    def _dialogues(self, photos: Iterable[PhotoLike]) -> Iterator[Dialogue | Guess]:
        nearest, farthest = self._shown
        found = self._retriever.neighbours(as_photos(photos), max(nearest, NEIGHBOURS), farthest)
        for photo, hits in found:
            if isinstance(hits, Rejected):
                yield Guess(photo, "unreadable", detail=hits.reason)
                continue
            yield Dialogue(self._first(photo, hits), hits, self._tools, self._budget)

    def _first(self, photo: Photo, hits: Neighbours) -> Prompt:
        nearest, farthest = self._shown
        shown = Neighbours(hits.nearest[:nearest], hits.farthest[:farthest]).disjoint()
        return self._prompt.fill(photo, shown, self._of, "turn")


def _over(begun: deque[Dialogue | Guess]) -> Iterator[Guess]:
    """The guesses of the first photographs, as far as their dialogues are over."""
    while begun:
        guess = begun[0] if isinstance(begun[0], Guess) else begun[0].guess
        if guess is None:
            return
        begun.popleft()
        yield guess


def _miscounted(lmm: LMM) -> BackendError:
    return BackendError(
        f"The LMM {type(lmm).__name__} did not give one reply for each prompt. Its ask() must."
    )
