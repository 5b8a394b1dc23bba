"""Standard streams, which may be terminals, pipes, closed, or broken off by the reader; and what must not reach them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_ESCAPES = {
    code: f"\\u{code:04x}"
    for code in (
        *range(0x20),  # C0, with \x1b, that begins a terminal's commands
        *range(0x7F, 0xA0),  # DEL and C1, whose \x9b is \x1b[ in one
        *range(
            0x2028, 0x202F
        ),  # line and paragraph separators; text that is shown in another order than it is in
        *range(0x2066, 0x206A),
    )
}
_GATE = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\t\n"}


def plain(text: str) -> str:
    """Text in one line, with every control character as the escape that JSON and TOML have for it."""
    return text.translate(_ESCAPES)


class Gate:
    """A text stream that control characters do not pass, but newline and tab: they come out as JSON's escapes.

    File names, replies, servers' errors and tables are other people's data, and a terminal obeys
    what is in them. In JSON and TOML the escapes are read as the same text.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write the text as it may be shown."""
        return self.stream.write(text.translate(_GATE))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def gated() -> Iterator[None]:
    """Everything printed meanwhile passes the gate, whoever prints it."""
    streams = sys.stdout, sys.stderr
    # Either is None where it was closed before the program began.
    sys.stdout, sys.stderr = (stream and cast("TextIO", Gate(stream)) for stream in streams)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def ungated(stream: TextIO) -> TextIO:
    """The stream behind the gate: for progress bars, which draw with control characters of their own."""
    return stream.stream if isinstance(stream, Gate) else stream


def on_terminal(stream: TextIO | None) -> bool:
    """Whether a person is at the other end."""
    return stream is not None and not stream.closed and stream.isatty()


def put(line: str) -> bool:
    """Write a line to standard output at once; False when nobody reads on, as after `| head`."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # What Python writes at its exit must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
