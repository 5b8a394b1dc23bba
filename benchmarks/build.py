"""A gallery of any size, killed in either half of its build: its memory, and whether it differs.

Run: python benchmarks/build.py FOLDER [--rows 4100000] [--dim 768] [--spec auto] [--once]. FOLDER
takes two galleries (about 4 bytes a row and dimension each, and 2 more for a moment). The vectors
are those of `synthetic.py`.

`whole` is built without a break. `killed` is built by a process that gets SIGKILL when a third of
its embeddings are there, by a second that gets it when a third of its index is written, and by a
third that finishes. In the end both have the same files. Memory is the most anonymous memory
(RssAnon) of a process, looked at ten times a second. With `--once` only `whole` is built.
"""

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from synthetic import Synthetic

from img2loc.core.files import shard_size
from img2loc.core.memory import return_large_blocks
from img2loc.gallery.build.pipeline import build
from img2loc.gallery.verify import checksums


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="A large gallery, killed in either half of its build."
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=4_100_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--spec", default="auto")
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        return_large_blocks()
        synthetic = Synthetic(options.rows, options.dim)
        table = {"kind": "synthetic"}
        build(
            synthetic, synthetic, options.folder, alias="synthetic", table=table, spec=options.spec
        )
        return
    arguments = ["--rows", str(options.rows), "--dim", str(options.dim), "--spec", options.spec]
    whole, killed = options.folder / "whole", options.folder / "killed"
    report("whole", run(whole, arguments))
    if options.once:
        return
    third = shards_of(options.rows) // 3
    report(
        "killed while embedding",
        run(killed, arguments, lambda: len(list((killed / "img_emb").glob("*.npy"))) >= third),
    )
    half = options.rows * options.dim * 2 // 3
    report(
        "killed while indexing",
        run(
            killed, arguments, lambda: max(map(size, killed.rglob("gallery.*")), default=0) >= half
        ),
    )
    report("finished", run(killed, arguments))
    same = checksums(whole) == checksums(killed) and embeddings(whole) == embeddings(killed)
    print("both galleries have the same files" if same else "THE GALLERIES DIFFER")
    sys.exit(not same)


def run(
    folder: Path, arguments: list[str], kill: Callable[[], bool] = lambda: False
) -> tuple[float, int]:
    """Build in another process, up to a moment; returns seconds, and the peak anonymous bytes."""
    begun, most = time.perf_counter(), 0
    process = subprocess.Popen([sys.executable, __file__, str(folder), *arguments, "--here"])
    while process.poll() is None:
        most = max(most, anonymous(process.pid))
        if kill():
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
        time.sleep(0.1)
    if process.returncode not in (0, -signal.SIGKILL):
        sys.exit("the build failed")
    return time.perf_counter() - begun, most


def report(what: str, measured: tuple[float, int]) -> None:
    print(
        f"{what:24} {measured[0]:7.0f} s {measured[1] / 1e6:7.0f} MB of anonymous memory",
        flush=True,
    )


def anonymous(process: int) -> int:
    """Its anonymous memory now, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def shards_of(rows: int) -> int:
    """How many shards so many rows make."""
    done = count = 0
    while done < rows:
        done, count = done + shard_size(done), count + 1
    return count


def embeddings(folder: Path) -> dict[str, str]:
    """SHA-256 of each shard's vectors and rows."""
    files = sorted([*folder.glob("img_emb/*.npy"), *folder.glob("metadata/*.parquet")])
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


if __name__ == "__main__":
    main()
