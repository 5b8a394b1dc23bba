"""What every locator that asks an LMM shares: prompts out, replies in, each guess in its photograph's place."""

from collections import deque
from collections.abc import Iterable, Iterator

from img2loc.locators.evidence import radius_km
from img2loc.parse import parse, refuses
from img2loc.protocols import LMM
from img2loc.types import Guess, GuessStatus, Location, Neighbours, Photo, Prompt, Rejected, Reply

Asked = tuple[Photo, Neighbours, Prompt] | tuple[Photo, Rejected]
"""A photograph with its prompt, or with the reason why it gets none."""


def ask(lmm: LMM, stream: Iterable[Asked]) -> Iterator[Guess]:
    """One guess for each photograph, in order; photographs without a prompt pass the LMM by."""
    waiting: deque[Asked] = deque()

    def prompts() -> Iterator[Prompt]:
        for asked in stream:
            waiting.append(asked)
            if len(asked) == 3:
                yield asked[2]

    def unreadable() -> Iterator[Guess]:
        while waiting and len(waiting[0]) == 2:
            asked = waiting.popleft()
            assert isinstance(asked[1], Rejected)
            yield Guess(asked[0], "unreadable", detail=asked[1].reason)

    for reply in lmm.ask(prompts()):
        yield from unreadable()
        asked = waiting.popleft()
        assert len(asked) == 3
        yield _decide(*asked, reply)
    yield from unreadable()


def _decide(photo: Photo, neighbours: Neighbours, prompt: Prompt, reply: Reply) -> Guess:
    # The last word of a reply that was cut off may be half a number.
    text = reply.text if reply.status != "truncated" else (reply.text.rsplit(maxsplit=1) or [""])[0]
    location = parse(text) if reply.status in ("answered", "truncated") else None
    status, detail = _status(reply, location)
    radius = radius_km(location, neighbours.nearest) if location else None
    return Guess(photo, status, location, radius, neighbours, prompt.text, (reply,), detail)


def _status(reply: Reply, location: Location | None) -> tuple[GuessStatus, str]:
    if location is not None:
        return "located", f"the reply of {reply.model}"
    if reply.status in ("refused", "failed"):
        return reply.status, reply.detail
    if reply.status == "answered" and refuses(reply.text):
        return "refused", "the reply declines to answer"
    return "unparsed", reply.detail or "the reply holds no coordinates"
