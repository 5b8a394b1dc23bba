"""Prompts → an LMM → guesses, in order: what every locator that asks an LMM shares."""

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
from img2loc.locators.radius import neighbours_radius_km


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about one photograph: one prompt or several."""

    photo: Photo
    neighbours: Neighbours
    prompts: tuple[Prompt, ...]
    radius_neighbours: tuple[Neighbour, ...] = ()
    """The nearest neighbours that the radius is measured over; can be more than are shown."""

    def guess(
        self,
        replies: Iterable[Reply],
        status: GuessStatus,
        detail: str,
        location: Location | None = None,
        radius_km: float | None = None,
    ) -> Guess:
        """The guess, with what was asked and replied."""
        texts = tuple(prompt.text for prompt in self.prompts)
        return Guess(
            self.photo, status, location, radius_km, self.neighbours, texts, tuple(replies), detail
        )


_MAX_UNREADABLE = 64
Stream = Iterable[Question | tuple[Photo, Rejected]]
Decide = Callable[[Question, list[Reply]], Guess]


def stream_guesses(lmm: LMM, stream: Stream, decide: Decide) -> Iterator[Guess]:
    """One guess for each photograph, in order; unreadable photographs are not sent to the LMM.

    The prompts of all photographs go to the LMM as one stream, so that its window of requests stays
    full. A long run of unreadable photographs ends that stream and begins another, as their guesses
    would be held back until the next reply. Raises BackendError for an LMM that does not give one
    reply for each prompt.
    """
    upcoming = iter(stream)
    for entry in upcoming:
        if isinstance(entry, Question):
            yield from _one_stream(lmm, chain([entry], upcoming), decide)
        else:
            yield _unreadable(*entry)


def _one_stream(lmm: LMM, stream: Stream, decide: Decide) -> Iterator[Guess]:
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

    replies: list[Reply] = []
    for reply in lmm.ask(prompts()):
        while not isinstance(question := pending[0] if pending else None, Question):
            if question is None:
                raise _miscounted(lmm, "more")
            pending.popleft()
            yield _unreadable(*question)
        replies.append(replace(reply, key=_key(question.prompts[len(replies)])))
        if len(replies) == len(question.prompts):
            pending.popleft()
            yield decide(question, replies)
            replies = []
    for entry in pending:
        if isinstance(entry, Question):
            raise _miscounted(lmm, "fewer")
        yield _unreadable(*entry)


def _miscounted(lmm: LMM, than: str) -> BackendError:
    return BackendError(
        f"The LMM {type(lmm).__name__} gave {than} replies than prompts. Its ask() must give one"
        " for each."
    )


def _key(prompt: Prompt) -> str:
    try:
        return prompt.key()
    except UnreadablePhoto:  # It vanished meanwhile; its reply was paid for all the same.
        return ""


def _unreadable(photo: Photo, rejected: Rejected) -> Guess:
    return Guess(photo, "unreadable", detail=rejected.reason)


def single_reply(question: Question, replies: list[Reply]) -> Guess:
    """The guess by the one reply to a question."""
    location = location_in(replies[0])
    status, detail = outcome(replies[0], location)
    radius = neighbours_radius_km(location, question.radius_neighbours) if location else None
    return question.guess(replies, status, detail, location, radius)


def location_in(reply: Reply) -> Location | None:
    """The coordinates that a reply settles on; None for a refusal or a failure.

    Where a reply was cut off, its last word is not read: it may be half a number.
    """
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
