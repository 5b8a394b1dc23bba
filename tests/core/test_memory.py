"""Memory freed between small blocks in use is returned, tried in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

_SCRIPT = """
import sys
import numpy as np
from img2loc.core.memory import return_large_blocks
if sys.argv[1] == "yes":
    return_large_blocks()
def held():
    status = open("/proc/self/status").read()
    return int(status.partition("RssAnon:")[2].split()[0]) // 1024
before, kept = held(), []
for _ in range(100):
    shard = np.ones(15_000_000, np.uint8)
    rows = shard.astype(np.uint16)
    del shard
    kept.append(rows[:100_000].copy())
    del rows
print(held() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="RssAnon and mallopt are of Linux's glibc")
def test_memory_is_what_is_used() -> None:
    held = {
        asked: int(
            subprocess.run(
                [sys.executable, "-c", _SCRIPT, asked], capture_output=True, text=True, check=True
            ).stdout
        )
        for asked in ("yes", "no")
    }
    assert held["yes"] < 60  # 20 MB are kept.
    assert held["no"] > held["yes"]


_BUILDS = """
import sys
from pathlib import Path
from img2loc.gallery.build import pipeline
from img2loc.core.memory import return_large_blocks
from img2loc.data.points import GridSource
from tests.encoders.test_embed_to_file import Compass
pipeline.build(GridSource(5), Compass(), Path(sys.argv[1]), alias="toy", table={}, of="points")
print(return_large_blocks.cache_info().currsize)
"""
_ASKS = """
from img2loc.cli import _run
from img2loc.core.memory import return_large_blocks
_run(False)
print(return_large_blocks.cache_info().currsize)
"""


def test_the_command_line_asks_for_it_and_the_library_does_not(tmp_path: Path) -> None:
    """The allocator of a program that imports us is its own."""
    for script, words, asked in (
        (_BUILDS, [str(tmp_path)], "0"),
        (_ASKS, ["index", "info", "starter"], "1"),
    ):
        command = [sys.executable, "-c", script, *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == asked
