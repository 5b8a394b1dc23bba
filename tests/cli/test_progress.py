"""The progress bar on a terminal, and its absence elsewhere."""

import os
import pty
import subprocess
import sys
from typing import IO

import pytest

from img2loc.cli.progress import progress, spinner

SCRIPT = """
from img2loc.cli.progress import progress
from img2loc.cli.stdio import gated
with gated():
    with progress("photos", 4) as advance:
        advance(3)
    with progress("bytes") as advance:
        print("a question")
        advance(1_000_000, 4_000_000)
    with progress("photos") as advance:
        advance(5, 10, "[b]98% answered")
    with progress("photos") as advance:
        advance(5, 10)
        advance(1, 2_000, "epoch 1")
"""


def on_a_terminal(*command: str, stdout: IO[str] | None = None) -> str:
    """What a command writes to a terminal of 80 columns: stderr, and stdout without a file."""
    terminal, end = pty.openpty()
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm"}
    process = subprocess.Popen(command, stdout=stdout or end, stderr=end, env=environment)
    os.close(end)
    drawn = b""
    try:
        while piece := os.read(terminal, 1 << 16):
            drawn += piece
    except OSError:  # So Linux says that the last one has closed the terminal.
        pass
    assert process.wait() == 0, drawn.decode()
    return drawn.decode()


def test_the_bar_counts_bytes_and_photos_and_takes_a_total_late() -> None:
    drawn = on_a_terminal(sys.executable, "-c", SCRIPT)
    shown = (
        "3/4 photos",
        "a question",
        "1.0/4.0 MB",
        "5/10 photos  [b]98% answered",
        "1/2,000 photos  epoch 1",
    )
    positions = [drawn.find(text) for text in shown]
    assert positions[0] > -1
    assert positions == sorted(positions), drawn
    assert "━" not in drawn[drawn.rfind("3/4 photos") : drawn.find("a question")]


def test_nothing_is_drawn_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with spinner("Loading"), progress("photos", 2) as advance:
        advance(1)
        advance(1, 3, "remark")
    assert capsys.readouterr() == ("", "")
