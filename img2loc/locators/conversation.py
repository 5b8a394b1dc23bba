"""A prompt → the LMM's reply, and its second one where the first gives no place."""

from dataclasses import dataclass, replace
from typing import Literal

from img2loc.core.errors import UnreadablePhoto
from img2loc.core.gazetteer import named_location
from img2loc.core.protocols import LMM
from img2loc.core.types import Answer, GuessStatus, Location, Prompt, Reply
from img2loc.lmm.concurrent import only_reply
from img2loc.lmm.parse.reply import parse_location, refuses
from img2loc.lmm.prompts import repair_prompt

Repair = Literal[0, 1]
"""How many times a reply without a place is answered."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The reply that counts for one prompt, and where it says that the photograph was taken."""

    reply: Reply
    location: Location | None
    turns: tuple[tuple[Prompt, Reply], ...]
    """All that was asked and replied: one turn, or two after a repair."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """How a locator talks with its LMM.

    `answer` is what the prompts ask for: "coordinates", or a "place" whose name the offline
    gazetteer looks up. With `repair` = 1 a reply without it is asked for it once more; refusals by
    the server and failures are not.
    """

    lmm: LMM
    answer: Answer = "coordinates"
    repair: Repair = 0

    def settle(self, prompt: Prompt, reply: Reply) -> Settled:
        """What a reply amounts to, after a second one where that is wanted.

        Where the second one fails, the first counts. Raises BackendError.
        """
        reply = replace(reply, key=key_of(prompt))
        first = Settled(reply, self.location(reply), ((prompt, reply),))
        if not self.repair or first.location or reply.status not in ("answered", "truncated"):
            return first
        asked = repair_prompt(prompt, reply.text)
        second = replace(only_reply(self.lmm, asked), key=key_of(asked))
        turns = (*first.turns, (asked, second))
        if second.status == "failed":
            return replace(first, turns=turns)
        return Settled(second, self.location(second), turns)

    def location(self, reply: Reply) -> Location | None:
        """Where a reply says that the photograph was taken."""
        return location_in(reply, self.answer)

    def outcome(self, settled: Settled) -> tuple[GuessStatus, str]:
        """The status that a reply gives its photograph, and why."""
        status, detail = outcome(settled.reply, settled.location, self.answer)
        if len(settled.turns) == 1:
            return status, detail
        failed = settled.turns[1][1].status == "failed"
        return status, f"{detail}, {'and the repair turn failed' if failed else 'on a second try'}"


def location_in(reply: Reply, answer: Answer = "coordinates") -> Location | None:
    """The coordinates that a reply settles on or the place that it names; None for a refusal.

    Where a reply was cut off, its last word is not read: it may be half a number.
    """
    if reply.status not in ("answered", "truncated"):
        return None
    text = reply.text
    if reply.status == "truncated":
        text = (text.rsplit(maxsplit=1) or [""])[0]
    return parse_location(text) if answer == "coordinates" else named_location(text)


def outcome(
    reply: Reply, location: Location | None, answer: Answer = "coordinates"
) -> tuple[GuessStatus, str]:
    """The status that a reply gives its photograph, and why."""
    if location is not None:
        named = "" if answer == "coordinates" else "the place named in "
        return "located", f"{named}the reply of {reply.model}"
    if reply.status in ("refused", "failed"):
        return reply.status, reply.detail
    if reply.status == "answered" and refuses(reply.text):
        return "refused", "the reply declines to answer"
    missing = "coordinates" if answer == "coordinates" else "place that the gazetteer knows"
    return "unparsed", reply.detail or f"the reply holds no {missing}"


def key_of(prompt: Prompt) -> str:
    """The key of a prompt; "" where its photograph vanished meanwhile."""
    try:
        return prompt.key()
    except UnreadablePhoto:  # It vanished meanwhile; its reply was paid for all the same.
        return ""
