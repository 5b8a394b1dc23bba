"""Many requests in flight, results in order: what every LMM behind a network shares."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from img2loc.errors import ConfigError
from img2loc.types import Prompt, Reply


class Concurrent(ABC):
    """Base of LMMs that answer one prompt a request: `answer` is called by `concurrency` threads."""

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}; it must be 1 or more.")
        self.concurrency = concurrency

    @abstractmethod
    def answer(self, prompt: Prompt) -> Reply:
        """The reply to one prompt. Raises BackendError for what no prompt can survive."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order, with `concurrency` requests in flight."""
        return in_flight(self.answer, prompts, self.concurrency)


def in_flight(answer: Callable[[Prompt], Reply], prompts: Iterable[Prompt], concurrency: int) -> Iterator[Reply]:
    """`answer` of each prompt, in order, by that many threads; prompts are taken as there is room for them.

    Twice as many are kept waiting as are in flight, so that one slow reply does not idle the other threads.
    """
    upcoming = iter(prompts)
    window = 2 * concurrency if concurrency > 1 else 1
    flying: deque[Future[Reply]] = deque()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="lmm")
    try:
        while True:
            flying.extend(pool.submit(answer, prompt) for prompt in islice(upcoming, window - len(flying)))
            if not flying:
                return
            yield flying.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
