"""Standard streams, which may be terminals, pipes, closed, or broken off by the reader."""

import os
import sys
from typing import TextIO


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


def plain(text: str) -> str:
    """Text without control characters, so that a file name or a model's reply cannot steer the terminal."""
    return "".join(character if character.isprintable() or character == "\t" else "\ufffd" for character in text)
