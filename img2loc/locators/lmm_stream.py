"""Prompts → an LMM → guesses, in order: what every locator that asks an LMM shares."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from img2loc.core.errors import BackendError
from img2loc.core.protocols import LMM
from img2loc.core.types import (
    Guess,
    GuessStatus,
    Location,
    Neighbour,
    Neighbours,
    Photo,
    Prompt,
    Rejected,
)
from img2loc.locators.conversation import Conversation, Settled
from img2loc.locators.spread import neighbours_spread_km


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one photograph: one prompt or several."""

    photo: Photo
    neighbours: Neighbours
    prompts: tuple[Prompt, ...]
    spread_neighbours: tuple[Neighbour, ...] = ()
    """The nearest neighbours that the spread is measured over; can be more than are shown."""

    def guess(
        self,
        settled: Sequence[Settled],
        status: GuessStatus,
        detail: str,
        location: Location | None = None,
        spread_km: float | None = None,
    ) -> Guess:
        """The guess, with what was asked and replied."""
        turns = [turn for one in settled for turn in one.turns]
        return Guess(
            *(self.photo, status, location, spread_km, self.neighbours),
            prompts=tuple(prompt.text for prompt, _ in turns),
            replies=tuple(reply for _, reply in turns),
            detail=detail,
            repairs=len(turns) - len(settled),
        )


_MAX_UNREADABLE = 64
Stream = Iterable[Question | tuple[Photo, Rejected]]
Decide = Callable[[Question, list[Settled]], Guess]


def stream_guesses(talk: Conversation, stream: Stream, decide: Decide) -> Iterator[Guess]:
    """One guess for each photograph, in order; unreadable photographs are not sent to the LMM.

    The prompts of all photographs go to the LMM as one stream, so that its window of requests stays
    full. A long run of unreadable photographs ends that stream and begins another, as their guesses
    would be held back until the next reply. Raises BackendError for an LMM that does not give one
    reply for each prompt.
    """
    upcoming = iter(stream)
    for entry in upcoming:
        if isinstance(entry, Question):
            yield from _one_stream(talk, chain([entry], upcoming), decide)
        else:
            yield _unreadable(*entry)


def _one_stream(talk: Conversation, stream: Stream, decide: Decide) -> Iterator[Guess]:
    pending: deque[Question | tuple[Photo, Rejected]] = deque()

    def prompts() -> Iterator[Prompt]:
        unreadable = 0
        for entry in stream:
            pending.append(entry)
            if isinstance(entry, Question):
                unreadable = 0
                yield from entry.prompts
            elif (unreadable := unreadable + 1) == _MAX_UNREADABLE:
                return

    lmm, settled = talk.lmm, list[Settled]()
    for reply in lmm.ask(prompts()):
        while not isinstance(question := pending[0] if pending else None, Question):
            if question is None:
                raise _miscounted(lmm, "more")
            pending.popleft()
            yield _unreadable(*question)
        settled.append(talk.settle(question.prompts[len(settled)], reply))
        if len(settled) == len(question.prompts):
            pending.popleft()
            yield decide(question, settled)
            settled = []
    for entry in pending:
        if isinstance(entry, Question):
            raise _miscounted(lmm, "fewer")
        yield _unreadable(*entry)


def _miscounted(lmm: LMM, than: str) -> BackendError:
    return BackendError(
        f"The LMM {type(lmm).__name__} gave {than} replies than prompts. Its ask() must give one"
        " for each."
    )


def _unreadable(photo: Photo, rejected: Rejected) -> Guess:
    return Guess(photo, "unreadable", detail=rejected.reason)


def single_reply(talk: Conversation) -> Decide:
    """The guess by the one reply to a question."""

    def decide(question: Question, settled: list[Settled]) -> Guess:
        (only,) = settled
        at = only.location
        spread = neighbours_spread_km(at, question.spread_neighbours) if at else None
        return question.guess(settled, *talk.outcome(only), at, spread)

    return decide
