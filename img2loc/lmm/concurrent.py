"""Many requests in flight, replies in order: the base of every LMM behind a network."""

import contextvars
import os
import threading
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
    """An LMM that answers one prompt a request."""

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            raise ConfigError(f"concurrency is {concurrency}; it must be 1 or more.")
        self.concurrency = concurrency

    @abstractmethod
    def prepare(self, prompt: Prompt) -> Any:
        """The photograph as it is sent, without network; a Reply where it cannot be sent."""

    @abstractmethod
    def answer(self, prompt: Prompt, prepared: Any) -> Reply:
        """The reply to one prompt. Raises BackendError where no prompt can be answered."""

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


def within(seconds: float, call: Callable[[], Any]) -> Any:
    """What `call` returns. TimeoutError after `seconds`: its thread is left to itself."""
    outcome: Future[Any] = Future()

    def run() -> None:
        try:
            outcome.set_result(call())
        except BaseException as error:
            outcome.set_exception(error)

    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(run,), daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome.done():
        raise TimeoutError(f"no complete answer within {seconds:g} s")
    return outcome.result()


def in_flight(
    prepare: Callable[[Prompt], Any],
    answer: Callable[[Prompt, Any], Reply],
    prompts: Iterable[Prompt],
    concurrency: int,
) -> Iterator[Reply]:
    """`answer` of each prompt, in order, in `concurrency` threads; prompts are taken lazily.

    Twice as many prompts are pending as are in flight: so one slow reply does not idle the other
    threads, and the next photographs are prepared, in as many threads as there are cores, while
    requests wait for the network. After a BackendError no more are sent; the replies to those that
    were sent come out before it is raised.
    """
    upcoming = iter(prompts)
    window = 2 * concurrency if concurrency > 1 else 1
    pending: deque[Future[Reply]] = deque()
    cores = min(concurrency, os.cpu_count() or 1)
    preparing = ThreadPoolExecutor(cores, thread_name_prefix="prepare")
    asking = ThreadPoolExecutor(concurrency, thread_name_prefix="lmm")

    def submit(prompt: Prompt) -> Future[Reply]:
        prepared = preparing.submit(prepare, prompt)
        return asking.submit(lambda: answer(prompt, prepared.result()))

    try:
        while True:
            pending.extend(map(submit, islice(upcoming, window - len(pending))))
            if not pending:
                return
            try:
                yield pending.popleft().result()
            except BackendError as error:
                yield from _already_sent(pending, error)
                raise
    finally:
        preparing.shutdown(wait=False, cancel_futures=True)
        asking.shutdown(wait=False, cancel_futures=True)


def _already_sent(pending: deque[Future[Reply]], error: BackendError) -> Iterator[Reply]:
    """The replies to requests that were sent (they are paid for), with "failed" between them."""
    replies: list[Reply | None] = [None]  # the prompt that met the error
    for future in pending:
        future.cancel()  # those that wait for a thread
    for future in pending:
        try:
            replies.append(future.result())
        except (BackendError, CancelledError):
            replies.append(None)
    while replies and replies[-1] is None:
        replies.pop()
    for reply in replies:
        yield reply or Reply("", "", "failed", detail=str(error))
