"""A server's reply, bounded in bytes and in time: a server may be anybody's, and need not mean well."""

import functools
import threading
import time
from contextlib import closing
from typing import Any

from openai import APITimeoutError, DefaultHttpxClient, OpenAIError

MOST_BYTES = 1 << 20
"""Of one reply, decompressed: a thousand tokens are some 5 kB, and 32 thousand of reasoning fit, escaped.

What is parsed of it takes up to sixty times as much, for each request in flight.
"""

_PIECE = 16 << 10
"""Bytes sent at a time: a server that takes a large photograph byte by byte is noticed between two pieces."""


class ReplyTooLong(OpenAIError):
    """A reply of more than MOST_BYTES; the SDK does not ask again after its own kind of error."""


class BoundedClient(DefaultHttpxClient):
    """The HTTP client of OpenAI's package, with limits that httpx lacks.

    httpx counts its timeout anew at each read, so that a server that sends a byte a second is read
    for ever, and it reads bodies of any length. Here one request, from its first byte to its
    reply's last one, takes at most `seconds`, and a reply has at most MOST_BYTES; else
    APITimeoutError or ReplyTooLong. Redirects are not followed: the photograph goes where the user
    said. Name resolution and connecting have the timeouts of httpx alone.
    """

    def __init__(self, seconds: float, **options: Any) -> None:
        super().__init__(follow_redirects=False, **options)
        self._seconds = seconds
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
                    if len(body) > MOST_BYTES:
                        raise ReplyTooLong(f"it is longer than {MOST_BYTES:,} bytes")
        except TimeoutError as error:
            raise APITimeoutError(request=request) from error
        headers = [
            (name, value)
            for name, value in response.headers.multi_items()
            if name != "content-encoding"
        ]
        return type(response)(
            response.status_code, headers=headers, content=bytes(body), request=request
        )

    def _watch(self, event: str, info: dict[str, Any]) -> None:
        """Called by httpx at each step: every new connection's reads and writes get the time that is left, not a time each."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            connection = info["return_value"]
            connection.read = functools.partial(self._read, connection.read)
            connection.write = functools.partial(self._write, connection.write)

    def _read(self, read: Any, most: int, timeout: float | None = None) -> Any:
        return read(most, self._left())

    def _write(self, write: Any, data: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(data), _PIECE):
            write(data[start : start + _PIECE], self._left())

    def _left(self) -> float:
        left: float = self._attempt.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
