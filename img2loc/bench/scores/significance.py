"""Differences of paired photographs → p-values: McNemar's test, by photographer, and Holm's."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def sign_flip(differences: Counts) -> float:
    """The exact two-sided p of a paired sign-flip test over whole numbers, shape (n,).

    The chance of a sum at least as far from zero if each sign were a coin's. Over photographs,
    where a difference is -1, 0 or 1, it is McNemar's exact test. Over photographers, each with the
    sum of their photographs' differences, it does not take photographs of one walk for independent
    (as Obuchowski, Stat. Med. 1998, and Durkalski et al., 2003, by a normal approximation).
    """
    total = abs(int(differences.sum()))
    if total == 0:
        return 1.0
    chances = np.ones(1)  # Of the sums -m … m.
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        flips = np.zeros(2 * size * count + 1)
        flips[:: 2 * size] = _coins(count)
        chances = np.convolve(chances, flips)
    return min(1.0, 2 * float(chances[len(chances) // 2 + total :].sum()))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's corrected p-values (Scand. J. Stat. 1979), in the order given.

    Where those below 0.05 count as differences, the chance of one false difference or more among
    all of these is at most 5 %, however the tests depend on each other.
    """
    corrected = [0.0] * len(p)
    highest = 0.0
    for rank, row in enumerate(sorted(range(len(p)), key=lambda row: p[row])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[row]))
        corrected[row] = highest
    return corrected


def _coins(count: int) -> NDArray[np.float64]:
    """The chances of 0 … `count` heads."""
    whole = math.lgamma(count + 1) - count * math.log(2)
    return np.array(
        [
            math.exp(whole - math.lgamma(heads + 1) - math.lgamma(count - heads + 1))
            for heads in range(count + 1)
        ]
    )
