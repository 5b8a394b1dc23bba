"""What every locator that asks an LMM shares: prompts out, replies in, each guess in its photograph's place."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

from img2loc.core.errors import BackendError, UnreadablePhoto
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
    Reply,
)
from img2loc.lmm.parse.reply import parse_location, refuses
from img2loc.locators.radius import radius_km


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one photograph: one prompt or several."""

    photo: Photo
    neighbours: Neighbours
    prompts: tuple[Prompt, ...]
    evidence: tuple[Neighbour, ...] = ()
    """The nearest neighbours that the radius is measured over; more than are shown, where few are."""


_PATIENCE = 64
Stream = Iterable[Question | tuple[Photo, Rejected]]
Decide = Callable[[Question, list[Reply]], Guess]


def ask(lmm: LMM, stream: Stream, decide: Decide) -> Iterator[Guess]:
    """One guess for each photograph, in order; photographs without a question pass the LMM by.

    The prompts of all photographs go to the LMM as one stream, so that its window of requests stays
    full; it is broken off only for a long run of unreadable photographs, which would otherwise be
    held back until the next reply. Raises BackendError for an LMM that does not give one reply for
    each prompt.
    """
    upcoming = iter(stream)
    for asked in upcoming:
        if isinstance(asked, Question):
            yield from _burst(lmm, chain([asked], upcoming), decide)
        else:
            yield _unreadable(*asked)


def _burst(lmm: LMM, stream: Stream, decide: Decide) -> Iterator[Guess]:
    waiting: deque[Question | tuple[Photo, Rejected]] = deque()

    def prompts() -> Iterator[Prompt]:
        rejected = 0
        for asked in stream:
            waiting.append(asked)
            if isinstance(asked, Question):
                rejected = 0
                yield from asked.prompts
            elif (rejected := rejected + 1) == _PATIENCE:
                return

    gathered: list[Reply] = []
    for reply in lmm.ask(prompts()):
        while not isinstance(question := waiting[0] if waiting else None, Question):
            if question is None:
                raise _miscounted(lmm, "more")
            waiting.popleft()
            yield _unreadable(*question)
        gathered.append(replace(reply, key=_key(question.prompts[len(gathered)])))
        if len(gathered) == len(question.prompts):
            waiting.popleft()
            yield decide(question, gathered)
            gathered = []
    for left in waiting:
        if isinstance(left, Question):
            raise _miscounted(lmm, "fewer")
        yield _unreadable(*left)


def _miscounted(lmm: LMM, than: str) -> BackendError:
    return BackendError(
        f"The LMM {type(lmm).__name__} gave {than} replies than prompts. Its ask() must give one"
        " for each."
    )


def _key(prompt: Prompt) -> str:
    try:
        return prompt.key()
    except (
        UnreadablePhoto
    ):  # It vanished while the LMM looked at it; its reply was paid for all the same.
        return ""


def _unreadable(photo: Photo, rejected: Rejected) -> Guess:
    return Guess(photo, "unreadable", detail=rejected.reason)


def by_the_reply(question: Question, replies: list[Reply]) -> Guess:
    """The guess that the one reply to a question amounts to."""
    (reply,) = replies
    location = location_in(reply)
    status, detail = outcome(reply, location)
    radius = radius_km(location, question.evidence) if location else None
    words = tuple(prompt.text for prompt in question.prompts)
    return Guess(
        question.photo, status, location, radius, question.neighbours, words, (reply,), detail
    )


def location_in(reply: Reply) -> Location | None:
    """The coordinates that a reply settles on; of one that was cut off, the last word may be half a number."""
    if reply.status == "truncated":
        return parse_location((reply.text.rsplit(maxsplit=1) or [""])[0])
    return parse_location(reply.text) if reply.status == "answered" else None


def outcome(reply: Reply, location: Location | None) -> tuple[GuessStatus, str]:
    """The status that a reply gives its photograph, and why."""
    if location is not None:
        return "located", f"the reply of {reply.model}"
    if reply.status in ("refused", "failed"):
        return reply.status, reply.detail
    if reply.status == "answered" and refuses(reply.text):
        return "refused", "the reply declines to answer"
    return "unparsed", reply.detail or "the reply holds no coordinates"
