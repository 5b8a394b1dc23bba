"""An LMM with fixed replies: for trying a pipeline without a model, and for tests."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle

from img2loc.core.errors import ConfigError
from img2loc.core.types import Prompt, Reply, ReplyStatus


class Scripted:
    """Answers prompts with `replies` in turn, beginning again after the last.

    Raises ConfigError without any.
    """

    def __init__(self, replies: Sequence[str], status: ReplyStatus = "answered") -> None:
        if not replies:
            raise ConfigError(
                'A scripted LMM needs at least one reply: replies = ["48.8584, 2.2945"].'
            )
        self._replies = cycle(replies)
        self._status = status

    cacheable = False
    several_photos = True

    @classmethod
    def endpoint(cls, **_: object) -> None:
        """Nowhere."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One scripted reply for each prompt."""
        for _ in prompts:
            yield Reply(next(self._replies), "scripted", self._status)
