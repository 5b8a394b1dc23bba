"""Several LMMs as one: each prompt goes to the one that it is for."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from img2loc.core.errors import BackendError
from img2loc.core.protocols import LMM
from img2loc.core.types import Prompt, Reply


class Panel:
    """The LMMs, numbered from 0 as in `Prompt.to`; each keeps its own window of requests full."""

    def __init__(self, lmms: Sequence[LMM]) -> None:
        self._lmms = tuple(lmms)

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order."""
        upcoming, order, stopped = iter(prompts), deque[int](), False
        waiting = [deque[Prompt]() for _ in self._lmms]

        def of(number: int) -> Iterator[Prompt]:
            while True:
                while not waiting[number]:
                    if not take():
                        return
                yield waiting[number].popleft()

        def take() -> bool:
            for prompt in () if stopped else upcoming:
                waiting[prompt.to].append(prompt)
                order.append(prompt.to)
                return True
            return False

        replies = [lmm.ask(of(number)) for number, lmm in enumerate(self._lmms)]
        try:
            while order or take():
                reply = next(replies[order.popleft()], None)
                if reply is None:
                    return  # Too few: whoever asks says so.
                yield reply
        except BackendError:
            stopped = True
            for queue in waiting:
                queue.clear()
            for rest in replies:  # What was sent is paid for: a cache keeps it.
                with suppress(BackendError):
                    deque(rest, maxlen=0)
            raise
