"""What cold commands cost: processor time, waiting time and memory, beside their bare imports.

Run: python benchmarks/cold_start.py [PHOTO] [--runs 7]. Each run is a new process, the commands
take turns, and the table gives medians. `imports` is `python -c "import numpy, onnxruntime, faiss,
PIL"`, what a plain `ask` cannot do without; the last column is processor time as a multiple of it.
Processor time and peak memory are the kernel's figures for the process (wait4).
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import NamedTuple

_DEMO = Path(__file__).resolve().parents[1] / "docs" / "demo" / "red-pyramid.jpg"
_CLI = "from img2loc.cli import main; main()"
_ENCODE = """import sys; from pathlib import Path
from img2loc.core.types import Photo; from img2loc.encoders.lite0 import Lite0
(row,) = Lite0().encode([Photo(Path(sys.argv[1]))]); assert row.shape == (1280,)"""
_RETRIEVAL = ("--locator", "retrieval", "--gallery", "starter")
_LMM = ("--locator", "zeroshot", "--lmm", "scripted")


class Cost(NamedTuple):
    """Of one process."""

    cpu_s: float
    wall_s: float
    peak_mb: float


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What cold commands cost.")
    parser.add_argument("photo", nargs="?", type=Path, default=_DEMO)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    photo = str(options.photo)
    commands = {
        "imports": ["import numpy, onnxruntime, faiss, PIL"],
        "--help": [_CLI, "--help"],
        "one vector by lite0": [_ENCODE, photo],
        "ask, starter gallery": [_CLI, "ask", photo, *_RETRIEVAL],
        "ask --lmm scripted": [_CLI, "ask", photo, *_LMM],
        "index info": [_CLI, "index", "info", "starter"],
    }
    costs: dict[str, list[Cost]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as home:
        for number in range(options.runs + 1):
            for name, words in commands.items():
                cost = _run([sys.executable, "-c", *words], home)
                if number:  # The first compiles modules and fills the disk's cache.
                    costs[name].append(cost)
    cores = os.cpu_count()
    print(
        f"medians of {options.runs} cold processes, {cores} cores; cpu as a multiple of `imports`"
    )
    base = median(cost.cpu_s for cost in costs["imports"])
    for name, several in costs.items():
        cpu, wall, peak = (median(column) for column in zip(*several, strict=True))
        print(
            f"  {name:22} cpu {cpu:5.2f} s  wall {wall:5.2f} s  {peak:5.0f} MB  {cpu / base:5.2f}"
        )


def _run(command: list[str], home: str) -> Cost:
    begun = time.perf_counter()
    environment = {**os.environ, "IMG2LOC_HOME": home}
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=quiet, stderr=quiet, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    peak = usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    return Cost(usage.ru_utime + usage.ru_stime, wall, peak)


if __name__ == "__main__":
    main()
