"""Pruning bounds (PCA + int8): which rows cannot be among the nearest or farthest, proved cheaply.

A pure accelerator, in this module, `pruning_batch` and `pruning_writer`: with ENABLED off every
search reads every row, with the same result.

An orthonormal basis is taken from a sample (its leading singular vectors), and each row is stored
as its coordinates there, one byte each. The error is bounded by Cauchy–Schwarz: with
x = x̂ + e + x⊥ (code, rounding, outside the basis) and q = q̂ + d + q⊥ alike,

    |q·x − q̂·x̂| ≤ |d| |x̂| + |q∥| |e| + |q⊥| |x⊥|

One maximum each of |x̂|, |e| and |x⊥| holds for all rows but a few exceptions, which are always
candidates. FAISS finds the rows with the largest q̂·x̂, or −q̂·x̂. Where the last of them is too small
for what the k-th best of the first score, all k best are among them or the exceptions, and their
exact scores decide.
"""

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, RowNumbers
from img2loc.gallery.index.faiss_files import codes_of, read_index, selector

ENABLED = True
"""The switch: off, galleries are built without these files, and existing ones are not read."""
FROM_ROWS = 50_000
"""Rows from which they pay; fewer are searched as quickly without."""
SIDES = ("bounds_near", "bounds_far")
FILES = tuple(f"{name}.{kind}" for name in SIDES for kind in ("npz", "faiss"))
OLD_FILES = ("sketch.npz", "sketch_rows.npy", "sketch_coarse.npy", "sketch_fine.npy")
"""Those of version 0.1.0, which are not read; a gallery that is built again loses them."""
ZERO = 128
"""The byte of 0: FAISS's QT_8bit_direct_signed adds it to a code."""
LARGEST_CODE = 127
"""-128 is not used, so that signs are symmetric."""
SHARE = 512
"""One of so many rows is a candidate at first."""
LEADING = 2
"""Candidates scored first, for each neighbour wanted."""
USELESS = 0.125
"""Share of the rows as candidates from which reading all is quicker."""

Scores = Callable[[RowNumbers], NDArray[np.float64]]
Side = tuple[int, int]
"""How many are wanted, and a sign: 1 for the nearest, -1 for the farthest."""
_FEWEST = 256
_WIDER = 4
_SLACK = 2e-5  # Single-precision rounding: of the coordinates and the basis.


def applies(spec: str, rows: int, of: str) -> bool:
    """Whether a gallery gets pruning bounds: of many photos, in half precision.

    The probabilities of points and texts come from every row.
    """
    return ENABLED and spec == "SQfp16" and rows >= FROM_ROWS and of == "photos"


class Coded(NamedTuple):
    """A query in codes, shape (columns,); the unit of their products with a row's; the error."""

    codes: NDArray[np.int8]
    unit: float
    error: float


class PruningBounds:
    """The opened files; raises OSError, KeyError, RuntimeError or ValueError for damaged ones.

    The nearest need fewer columns than the farthest, whose scores lie closer together.
    """

    def __init__(self, folder: Path) -> None:
        self.near, self.far = (SideBounds(folder, name) for name in SIDES)
        if len(self.near) != len(self.far):
            raise ValueError("the files of its pruning bounds have different lengths")

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """The bounds of a gallery's folder; None where it has none."""
        return cls(folder) if ENABLED and (folder / FILES[0]).exists() else None

    def __len__(self) -> int:
        return len(self.near)

    def candidates(
        self, query: Embedding, sides: Sequence[Side], excluded: RowNumbers, exact: Scores
    ) -> list[RowNumbers] | None:
        """The rows that may be among the k best of each side; None where reading all is quicker.

        `exact` gives the similarities of rows to the query, shape (dim,).
        """
        import faiss

        def of_side(side: Side) -> RowNumbers | None:
            bounds = self.near if side[1] > 0 else self.far
            return bounds.candidates(query, *side, excluded, exact)

        if faiss.omp_get_max_threads() == 1 or not all(k for k, _ in sides):
            found = [of_side(side) for side in sides]
        else:  # FAISS shares out queries; in these threads it is to start none of its own.
            with ThreadPoolExecutor(2, initializer=faiss.omp_set_num_threads, initargs=(1,)) as two:
                found = list(two.map(of_side, sides))
        candidates = [rows for rows in found if rows is not None]
        return candidates if len(candidates) == len(sides) else None


class SideBounds:
    """The bounds of one side, memory-mapped; `codes` has shape (rows, columns)."""

    def __init__(self, folder: Path, name: str) -> None:
        with (folder / f"{name}.npz").open("rb") as file, np.load(file) as small:
            self._basis: NDArray[np.float64] = small["basis"].astype(np.float64)
            self._scale = float(small["scale"])
            self._longest, self._rounding, self._outside = map(float, small["largest"])
            self.exceptions: RowNumbers = small["exceptions"]
        # FAISS frees the memory of an index when this goes, whoever still looks at it.
        self._file = read_index(folder / f"{name}.faiss", "SQ")
        self.codes: NDArray[np.uint8] = codes_of(self._file)

    def __len__(self) -> int:
        return len(self.codes)

    def candidates(
        self, query: Embedding, k: int, sign: int, excluded: RowNumbers, exact: Scores
    ) -> RowNumbers | None:
        """The rows that may be among the k best; None where reading all is quicker."""
        if k == 0:
            return np.empty(0, dtype=np.int64)
        coded, most = self.coded(query, LARGEST_CODE), len(self) - len(excluded)
        width = min(max(_FEWEST, len(self) // SHARE, LEADING * k), most)
        while width <= USELESS * len(self):
            products, rows = self._best(sign * coded.codes, width, excluded)
            threshold = least_product(coded, k, sign, rows[: LEADING * k], exact)
            if width == most or products[-1] < threshold:
                return self.joined(rows[products >= threshold], excluded)
            width = min(_WIDER * width, most)
        return None

    def coded(self, query: Embedding, largest_code: int) -> Coded:
        """A query, shape (dim,), in codes from −`largest_code` to it."""
        wide = query.astype(np.float64)
        # Not by BLAS, whose threads wait for more at full load while FAISS searches.
        inside: NDArray[np.float64] = np.vecdot(self._basis, wide)
        length = math.sqrt(inside @ inside)
        outside = math.sqrt(max(float(wide @ wide) - length**2, 0) + 1e-7)
        scale = max(float(np.abs(inside).max(initial=0)), 1e-6) / largest_code
        row = np.zeros(self.codes.shape[1], dtype=np.int8)
        row[: len(inside)] = codes = np.rint(inside / scale)
        error: float = np.linalg.norm(inside - codes * scale).item() * self._longest
        error += length * self._rounding + outside * self._outside + _SLACK
        return Coded(row, scale * self._scale, error)

    def joined(self, rows: RowNumbers, excluded: RowNumbers) -> RowNumbers:
        """Rows that are not pruned, and the exceptions."""
        return np.setdiff1d(np.union1d(rows, self.exceptions), excluded)

    def _best(
        self, codes: NDArray[np.int8], width: int, excluded: RowNumbers
    ) -> tuple[NDArray[np.float32], RowNumbers]:
        """The rows with the largest products, and these, largest first.

        FAISS computes such products of whole numbers exactly, on some processors in integers.
        """
        import faiss

        params = faiss.SearchParameters(**selector(excluded))
        products, rows = self._file.search(codes.astype(np.float32)[None], width, params=params)
        return products[0], rows[0]


def least_product(coded: Coded, k: int, sign: int, rows: RowNumbers, exact: Scores) -> float:
    """The product, times the sign, below which no row is among the k best, by the scores of some.

    Exceptions aside.
    """
    known: float = np.partition(sign * exact(rows), -k)[-k].item()
    return (known - coded.error) / coded.unit
