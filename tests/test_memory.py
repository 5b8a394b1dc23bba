"""What is freed between small blocks that stay is given back: in a process of its own, because it holds for the process."""

import subprocess
import sys

import pytest

_SCRIPT = """
import sys
import numpy as np
from img2loc.memory import return_large_blocks
if sys.argv[1] == "yes":
    return_large_blocks()
def held():
    return next(int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("RssAnon:"))
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
        asked: int(subprocess.run([sys.executable, "-c", _SCRIPT, asked], capture_output=True, text=True, check=True).stdout)
        for asked in ("yes", "no")
    }
    assert held["yes"] < 60  # 20 MB are kept.
    assert held["no"] > held["yes"]
