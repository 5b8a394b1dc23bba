"""Several LMMs as one: order, windows, too few replies, and one that stops."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from img2loc.core.errors import BackendError
from img2loc.core.types import Photo, Prompt, Reply
from img2loc.lmm.panel import Panel


class Windowed:
    """Takes so many prompts before it answers; may stop after some replies."""

    def __init__(self, name: str, window: int, stops_after: int = 1000) -> None:
        self._name, self._window, self._stops_after = name, window, stops_after
        self.asked = 0
        self.answered = 0

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        upcoming, held = iter(prompts), list[Prompt]()
        while True:
            while len(held) < self._window and (new := next(upcoming, None)) is not None:
                self.asked += 1
                held.append(new)
            if not held:
                return
            if self.answered == self._stops_after:
                raise BackendError("no credit is left")
            self.answered += 1
            yield Reply(f"{self._name} {held.pop(0).text}", self._name, "answered")


def prompts(count: int, pattern: tuple[int, ...]) -> list[Prompt]:
    return [
        Prompt(str(number), Photo(Path("x.jpg")), to=pattern[number % len(pattern)])
        for number in range(count)
    ]


@pytest.mark.parametrize("windows", [(1, 1), (4, 1), (3, 8)])
@pytest.mark.parametrize("pattern", [(0, 1), (0, 0, 0, 1), (1,)])
def test_each_prompt_gets_the_reply_of_its_lmm_in_order(
    windows: tuple[int, int], pattern: tuple[int, ...]
) -> None:
    panel = Panel([Windowed("a", windows[0]), Windowed("b", windows[1])])
    asked = prompts(50, pattern)
    replies = [reply.text for reply in panel.ask(asked)]
    assert replies == [f"{'ab'[prompt.to]} {prompt.text}" for prompt in asked]


def test_an_lmm_that_stops_stops_all_and_loses_nothing_that_was_sent() -> None:
    stopping, other = Windowed("a", 4, stops_after=3), Windowed("b", 4)
    with pytest.raises(BackendError, match="no credit"):
        list(Panel([stopping, other]).ask(prompts(100, (0, 1))))
    assert other.answered == other.asked < 50  # A cache would have kept them.


def test_too_few_replies_end_the_stream() -> None:
    class Silent(Windowed):
        def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
            yield from ()

    assert list(Panel([Silent("a", 1), Windowed("b", 1)]).ask(prompts(4, (0, 1)))) == []
