"""Times of searches, one by one and in batches, and the processor that they are of."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from img2loc.core.types import Embeddings

_ROUND = 10


def instructions() -> str:
    """The instruction sets of this processor that matter, as far as Linux tells."""
    cpu = Path("/proc/cpuinfo")
    flags = set(cpu.read_text().split()) if cpu.exists() else set()
    sets = {"AVX2": "avx2", "AVX-512": "avx512f", "VNNI": "avx512_vnni", "bf16": "avx512_bf16"}
    return ", ".join(name if flag in flags else f"no {name}" for name, flag in sets.items())


def timed(queries: Embeddings, *searches: Callable[[Embeddings], Any]) -> list[float]:
    """Milliseconds of one query alone, the median of each.

    They take turns by the round, the first of which does not count: threads of the one before may
    still wait for work at full load.
    """
    spent: list[list[float]] = [[] for _ in searches]
    for start in range(0, len(queries), _ROUND):
        for search, times in zip(searches, spent, strict=True):
            search(queries[start : start + 1])
            time.sleep(0.05)
            for row in range(start, min(start + _ROUND, len(queries))):
                begun = time.perf_counter()
                search(queries[row : row + 1])
                times.append(1000 * (time.perf_counter() - begun))
    return [median(times) for times in spent]


def batch(search: Callable[[Embeddings], Any], queries: Embeddings) -> float:
    """Milliseconds a query, of all at once; median of three."""
    spent = []
    for _ in range(3):
        begun = time.perf_counter()
        search(queries)
        spent.append(time.perf_counter() - begun)
    return 1000 * median(spent) / len(queries)
