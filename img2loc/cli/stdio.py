"""Standard streams, and the gate that control characters do not pass."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

_CONTROLS = (
    *range(0x20),  # C0, with \x1b, that begins a terminal's commands
    *range(0x7F, 0xA0),  # DEL and C1, whose \x9b is \x1b[ in one
    *range(0x2028, 0x202F),  # line separators; text shown in another order than it is in
    *range(0x2066, 0x206A),
    *(0x061C, 0x200E, 0x200F),  # marks that reorder what is beside them
)
_ESCAPES = {code: f"\\u{code:04x}" for code in _CONTROLS}
_GATE = {code: escape for code, escape in _ESCAPES.items() if chr(code) not in "\t\n"}


def plain(text: str) -> str:
    """Text in one line, its control characters as the escapes of JSON and TOML."""
    return text.translate(_ESCAPES)


class Gate:
    """A text stream that writes control characters, but newline and tab, as JSON's escapes.

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
    """The stream behind the gate, for progress bars: they are drawn with control characters."""
    return stream.stream if isinstance(stream, Gate) else stream


def on_terminal(stream: TextIO | None) -> bool:
    """Whether the stream is an open terminal."""
    return stream is not None and not stream.closed and stream.isatty()


def put(line: str) -> bool:
    """Write a line to standard output at once; False when the reader has gone, as `| head` does."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        # What Python writes at its exit must go somewhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True
