"""`serving()`: a hostile chat server on loopback; the name of the model selects its attack."""

import json
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache

from tests.server import completion

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_ENDLESS = 10**12


def _whole(body: bytes, head: bytes = _OK) -> Iterator[bytes]:
    yield head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def _slowly(head: bytes, byte: bytes) -> Iterator[bytes]:
    """Never silent for as long as a client's timeout."""
    yield head
    while True:
        time.sleep(0.05)
        yield byte


def _for_ever(head: bytes, more: bytes) -> Iterator[bytes]:
    yield head
    while True:
        yield more


def _silent() -> Iterator[bytes]:
    while True:
        time.sleep(0.05)
        yield b""


def _zeros(gibibytes: int, wbits: int) -> bytes:
    """Compressed zeros, a thousand times smaller."""
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    head = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block refers to nothing before it, so it can be repeated.
    again = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return head + again * (64 * gibibytes)


@cache
def _bodies() -> dict[str, bytes]:
    """Bodies that take longer to make than a client waits."""
    twice = zlib.compressobj(9, zlib.DEFLATED, 31)
    return {
        "long": json.dumps(completion("x" * (8 << 20))).encode(),
        "gzip": _zeros(1, 31),
        "deflate": _zeros(1, -15),
        "gzip, gzip": twice.compress(_zeros(10, 31)) + twice.flush(),  # 30 kB of 10 GiB
    }


def _bomb(encoding: str) -> Iterator[bytes]:
    return _whole(_bodies()[encoding], _OK + b"Content-Encoding: %s\r\n" % encoding.encode())


ANSWERS: dict[str, Callable[[], Iterator[bytes]]] = {
    "good": lambda: _whole(json.dumps(completion("1.5, 2.5")).encode()),
    "silent": _silent,
    "dribbling headers": lambda: _slowly(b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "dribbling body": lambda: _slowly(_OK + b"Content-Length: %d\r\n\r\n{" % _ENDLESS, b" "),
    "dribbling error": lambda: _slowly(
        b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n{" % _ENDLESS, b" "
    ),
    "endless headers": lambda: _for_ever(b"HTTP/1.1 200 OK\r\n", b"X-More: of this\r\n" * 1000),
    "endless continues": lambda: _for_ever(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "endless body": lambda: _for_ever(
        _OK + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (1 << 16, b"[" * (1 << 16))
    ),
    "endless error": lambda: _for_ever(
        b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n" % _ENDLESS, b'"' * (1 << 16)
    ),
    "one long line": lambda: _whole(_bodies()["long"]),
    "many choices": lambda: _whole(b'{"choices":[%s{}]}' % (b"{}," * 345_000)),
    "some choices": lambda: _whole(b'{"choices":[%s{}]}' % (b"{}," * 43_000)),
    "deeply nested": lambda: _whole(b"[" * 100_000),
    "gzip bomb": lambda: _bomb("gzip"),
    "deflate bomb": lambda: _bomb("deflate"),
    "gzipped gzip bomb": lambda: _bomb("gzip, gzip"),
    "redirect loop": lambda: _whole(
        b"{}", b"HTTP/1.1 307 Go\r\nLocation: /v1/chat/completions\r\n"
    ),
}


@contextmanager
def serving() -> Iterator[str]:
    """The server's address."""
    _bodies()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=_accept, args=(listening,), daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with suppress(OSError):  # It is closed when the test is over.
        while True:
            threading.Thread(target=_answer, args=(listening.accept()[0],), daemon=True).start()


def _answer(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as asked, suppress(OSError, ValueError):
        headers = dict(
            line.decode().lower().strip().split(": ", 1)
            for line in iter(asked.readline, b"\r\n")
            if b": " in line
        )
        for piece in ANSWERS[json.loads(asked.read(int(headers["content-length"])))["model"]]():
            connection.sendall(piece)
