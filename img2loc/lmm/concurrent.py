"""Many requests in flight, results in order: what every LMM behind a network shares."""

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

from img2loc.core.errors import BackendError, ConfigError
from img2loc.core.protocols import LMM
from img2loc.core.types import Prompt, Reply


class Concurrent(ABC):
    """Base of LMMs that answer one prompt a request."""

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}; it must be 1 or more.")
        self.concurrency = concurrency

    @abstractmethod
    def prepare(self, prompt: Prompt) -> Any:
        """What takes CPU and no network: the photograph as it is sent, or a Reply where that cannot be made."""

    @abstractmethod
    def answer(self, prompt: Prompt, prepared: Any) -> Reply:
        """The reply to one prompt. Raises BackendError for what no prompt can survive."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order, with `concurrency` requests in flight."""
        return in_flight(self.prepare, self.answer, prompts, self.concurrency)


def only_reply(lmm: LMM, prompt: Prompt) -> Reply:
    """The reply to one prompt. Raises BackendError for an LMM that gives none, or several."""
    replies = list(lmm.ask([prompt]))
    if len(replies) != 1:
        raise BackendError(
            f"The LMM {type(lmm).__name__} gave {len(replies)} replies to one prompt. Its ask()"
            " must give one."
        )
    return replies[0]


def in_flight(
    prepare: Callable[[Prompt], Any],
    answer: Callable[[Prompt, Any], Reply],
    prompts: Iterable[Prompt],
    concurrency: int,
) -> Iterator[Reply]:
    """`answer` of each prompt, in order, by `concurrency` threads; prompts are taken as there is room for them.

    Twice as many are held as are in flight: so one slow reply does not idle the other threads, and
    the next photographs are prepared, by as many threads as there are cores, while requests wait
    for the network. When one prompt meets what no prompt can survive, no more are sent; the replies
    to those that were sent still come out, before the BackendError does.
    """
    upcoming = iter(prompts)
    window = 2 * concurrency if concurrency > 1 else 1
    flying: deque[Future[Reply]] = deque()
    preparing = ThreadPoolExecutor(
        min(concurrency, os.cpu_count() or 1), thread_name_prefix="prepare"
    )
    asking = ThreadPoolExecutor(concurrency, thread_name_prefix="lmm")

    def submit(prompt: Prompt) -> Future[Reply]:
        prepared = preparing.submit(prepare, prompt)
        return asking.submit(lambda: answer(prompt, prepared.result()))

    try:
        while True:
            flying.extend(map(submit, islice(upcoming, window - len(flying))))
            if not flying:
                return
            try:
                yield flying.popleft().result()
            except BackendError as error:
                yield from _paid_for(flying, error)
                raise
    finally:
        preparing.shutdown(wait=False, cancel_futures=True)
        asking.shutdown(wait=False, cancel_futures=True)


def _paid_for(flying: deque[Future[Reply]], error: BackendError) -> Iterator[Reply]:
    """The replies that were on their way when a run had to stop, each in its place, with "failed" in the places before them."""
    left: list[Reply | None] = [None]  # the prompt that met the error
    started = [not future.cancel() for future in flying]
    for future, was_sent in zip(flying, started, strict=True):
        try:
            left.append(future.result() if was_sent else None)
        except (BackendError, CancelledError):
            left.append(None)
    while left and left[-1] is None:
        left.pop()
    for reply in left:
        yield reply or Reply("", "", "failed", detail=str(error))
