"""An HTTP client that limits a reply's bytes and time: not every server can be trusted."""

import functools
import threading
import time
from contextlib import closing
from typing import Any

from openai import APITimeoutError, DefaultHttpxClient, OpenAIError

MAX_BYTES = 1 << 20
"""Of one reply, decompressed: 32 thousand tokens fit. Parsed, it takes up to 60 times as much."""

_CHUNK = 16 << 10
"""Bytes sent at a time: the deadline is checked between two chunks of a large photograph."""


class ReplyTooLong(OpenAIError):
    """A reply of more bytes than are read; being OpenAI's kind of error, it is not retried."""


class BoundedClient(DefaultHttpxClient):
    """The HTTP client of OpenAI's package, with limits that httpx lacks.

    httpx restarts its timeout at each read, so that a byte a second is read for ever, and reads
    bodies of any length. Here one request, from its first byte to its reply's last, takes at most
    `seconds`, and a reply has at most `max_bytes`; else APITimeoutError or ReplyTooLong. Redirects
    are not followed: the photograph goes where the user said. Name resolution and connecting have
    the timeouts of httpx alone.
    """

    def __init__(self, seconds: float, max_bytes: int = MAX_BYTES, **options: Any) -> None:
        super().__init__(follow_redirects=False, **options)
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._attempt = threading.local()  # A request is sent and read in the thread that asks.

    def send(self, request: Any, *, stream: bool = False, **options: Any) -> Any:
        """The response, read and decompressed."""
        self._attempt.deadline = time.monotonic() + self._seconds
        request.extensions["trace"] = self._watch
        body = bytearray()
        try:
            with closing(super().send(request, stream=True, **options)) as response:
                for chunk in response.iter_bytes():  # httpx decompresses at most a MiB at a time.
                    body += chunk
                    if len(body) > self._max_bytes:
                        raise ReplyTooLong(f"it is longer than {self._max_bytes:,} bytes")
        except TimeoutError as error:
            raise APITimeoutError(request=request) from error
        headers = response.headers.copy()
        headers.pop("content-encoding", None)
        return type(response)(
            response.status_code, headers=headers, content=bytes(body), request=request
        )

    def _watch(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpx at each step; puts new connections' reads and writes under the limit."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"]
            connection.read = functools.partial(self._read, connection.read)
            connection.write = functools.partial(self._write, connection.write)

    def _read(self, read: Any, most: int, timeout: float | None = None) -> Any:
        return read(most, self._remaining())

    def _write(self, write: Any, data: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(data), _CHUNK):
            write(data[start : start + _CHUNK], self._remaining())

    def _remaining(self) -> float:
        seconds: float = self._attempt.deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds
