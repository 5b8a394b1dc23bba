"""Pruning bounds (PCA + int8): which rows cannot be among the nearest or farthest, proved cheaply.

A pure accelerator, in this module and `pruning_writer`: with ENABLED off every search reads every
row, with the same result.

An orthonormal basis is taken from a sample (its leading singular vectors), and each row is stored
as its coordinates there, one byte each: a coarse part that every search reads, and a fine part,
read for the rows that the coarse part does not prune. The error is bounded by Cauchy–Schwarz: with
x = x̂ + e + x⊥ (code, rounding, outside the basis) and q = q̂ + d + q⊥ alike,

    |q·x − q̂·x̂| ≤ |d| |x̂| + |q∥| |e| + |q⊥| |x⊥|

where |x⊥| is stored for each row and the other two by their maximum. So the rows that remain are a
superset of the nearest and farthest, and their exact scores decide.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, RowNumbers

ENABLED = True
"""The switch: off, galleries are built without these files, and existing ones are not read."""
FROM_ROWS = 50_000
"""Rows from which they pay; fewer are searched as quickly without."""
FILES = ("sketch.npz", "sketch_rows.npy", "sketch_coarse.npy", "sketch_fine.npy")
LARGEST_CODE = 127
"""-128 is not used, so that signs are symmetric."""

Scores = Callable[[RowNumbers], NDArray[np.float64]]
_WORST = 2**31 - 1  # The estimate of rows that are excluded, but for its sign.
_BLOCK = 64  # Rows of which only the best estimate is read when the first candidates are chosen.
_SLACK = 2e-5  # Single-precision rounding: of the coordinates and the basis.
_USELESS = (
    0.25  # Share of the rows not pruned by the coarse part from which reading all is quicker.
)
_LEADING = 4  # Candidates scored first, for each neighbour wanted.


def applies(spec: str, rows: int, of: str) -> bool:
    """Whether a gallery gets pruning bounds: of many photos, in half precision.

    The probabilities of points and texts come from every row.
    """
    return ENABLED and spec == "SQfp16" and rows >= FROM_ROWS and of == "photos"


class PruningBounds:
    """The opened files, memory-mapped. Raises OSError, KeyError or ValueError for damaged ones."""

    def __init__(self, folder: Path) -> None:
        with (folder / FILES[0]).open("rb") as file, np.load(file) as small:
            self._basis: NDArray[np.float32] = small["basis"]
            self._scales: list[float] = small["scales"].tolist()
            self._largest: NDArray[np.float64] = small["largest"]
            self.typical, self.atypical = float(small["usual"]), small["unusual"]
            coarse = int(small["coarse"])
        self._parts = (slice(0, coarse), slice(coarse, len(self._basis)))
        # Copy-on-write, because torch warns of arrays that cannot be written to.
        self.outside, self.coarse, self.fine = (
            np.load(folder / name, mmap_mode="c").view(np.ndarray) for name in FILES[1:]
        )
        if not len(self.coarse) == len(self.fine) == self.outside.shape[1]:
            raise ValueError("the files of its pruning bounds have different lengths")

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """The bounds of a gallery's folder.

        None where it has none, or where this machine's int8 products are not exact.
        """
        present = ENABLED and (folder / FILES[0]).exists()
        return cls(folder) if present and _int8_products_are_exact() else None

    def __len__(self) -> int:
        return len(self.coarse)

    def candidates(
        self,
        query: Embedding,
        sides: Sequence[tuple[int, int]],
        excluded: RowNumbers,
        exact: Scores,
    ) -> list[RowNumbers] | None:
        """The rows that may be among the k best of each side; None where reading all is quicker.

        A side is k and a sign: 1 for the nearest, -1 for the farthest. `exact` gives the
        similarities of rows to the query, shape (dim,).
        """
        columns, candidates = self.columns(query), []
        estimates = _int8_products(self.coarse, columns[0].codes)
        for k, sign in sides:
            estimates[excluded] = -sign * _WORST
            rows = self._candidates(columns, estimates, k, sign, exact)
            if rows is None:
                return None
            candidates.append(rows)
        return candidates

    def columns(self, query: Embedding) -> list["Column"]:
        """The coarse and the fine part of a query."""
        wide = query.astype(np.float64)
        coordinates = self._basis.astype(np.float64) @ wide
        outside, columns = float((wide**2).sum()), []
        for part, row_scale, (largest_code, largest_rounding) in zip(
            self._parts, self._scales, self._largest, strict=True
        ):
            inside = coordinates[part]
            outside = max(outside - float((inside**2).sum()), 0.0)
            scale = max(float(np.abs(inside).max(initial=0)), 1e-6) / LARGEST_CODE
            codes = np.rint(inside / scale)
            rounding = np.linalg.norm(inside - codes * scale) * largest_code
            rounding += np.linalg.norm(inside) * largest_rounding
            unit, norm = scale * row_scale, math.sqrt(outside + 1e-7)
            columns.append(Column(codes.astype(np.int8), unit, float(rounding), norm))
        return columns

    def _candidates(
        self,
        columns: list["Column"],
        estimates: NDArray[np.int32],
        k: int,
        sign: int,
        exact: Scores,
    ) -> RowNumbers | None:
        if k == 0:
            return np.empty(0, np.int64)
        coarse, fine = columns
        blocks = _Blocks(estimates, sign)
        leading = blocks.leading(k * _LEADING)
        leading = leading[estimates[leading] != -sign * _WORST]
        if len(leading) < k:
            return None
        needed = float(np.partition(sign * exact(leading), -k)[-k]) - coarse.rounding - _SLACK
        threshold = math.floor((needed - coarse.outside * self.typical) / coarse.unit)
        rows = blocks.at_least(threshold)
        if len(rows) > _USELESS * len(estimates):
            return None
        atypical = self.atypical[sign * estimates[self.atypical] < threshold]
        rows = np.concatenate((rows, atypical))
        # For a query outside the basis no estimate is below the threshold.
        rows = rows[estimates[rows] != -sign * _WORST]
        scores = estimates[rows] * (sign * coarse.unit)
        stays = scores + coarse.outside * self.outside[0][rows] >= needed
        rows, scores = rows[stays], scores[stays]
        if len(fine.codes):
            scores += _int8_products(self.fine[rows], fine.codes) * (sign * fine.unit)
            rows = rows[scores + fine.outside * self.outside[1][rows] >= needed - fine.rounding]
        return np.asarray(rows, np.int64)


@dataclass(frozen=True, slots=True)
class Column:
    """A part of a query: codes, the unit of their products with a row's, the rounding, and |q⊥|."""

    codes: NDArray[np.int8]
    unit: float
    rounding: float
    outside: float


class _Blocks:
    """Rows in blocks: where a block's best row is pruned, the block is.

    A block's rows lie far apart, one in each stretch of the gallery, so that the best of many
    blocks come from sequential reads.
    """

    def __init__(self, estimates: NDArray[np.int32], sign: int) -> None:
        import torch

        self._estimates, self._sign, self._count = estimates, sign, len(estimates) // _BLOCK
        grid = torch.from_numpy(estimates[: self._count * _BLOCK]).view(_BLOCK, self._count)
        self._best = grid.amax(dim=0) if sign > 0 else grid.amin(dim=0)

    def leading(self, count: int) -> RowNumbers:
        """About the best rows by estimate: enough to know what the k-th best scores at least."""
        import torch

        blocks = min(count, self._count)
        chosen = torch.topk(self._best, blocks, largest=self._sign > 0, sorted=False).indices
        rows = self._rows(chosen.numpy())
        return rows[np.argsort(-self._sign * self._estimates[rows], kind="stable")[:count]]

    def at_least(self, threshold: int) -> RowNumbers:
        """Every row with such an estimate or a better one, in no order."""
        best = self._best.numpy()
        chosen = best >= threshold if self._sign > 0 else best <= -threshold
        rest = np.arange(self._count * _BLOCK, len(self._estimates))
        rows = np.concatenate((self._rows(np.flatnonzero(chosen)), rest))
        return rows[self._sign * self._estimates[rows] >= threshold]

    def _rows(self, blocks: NDArray[np.int64]) -> RowNumbers:
        return (blocks + self._count * np.arange(_BLOCK)[:, None]).ravel()


def _int8_products(rows: NDArray[np.int8], codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """Inner products of rows, shape (n, m), with one query's codes, shape (m,)."""
    import torch

    # By `unsqueeze`, because a column made by numpy has a stride of 0, from which torch 2.14
    # computes wrong products.
    column = torch.from_numpy(codes).unsqueeze(1)
    return np.asarray(torch._int_mm(torch.from_numpy(rows), column)[:, 0].numpy())


@cache
def _int8_products_are_exact() -> bool:
    """Whether int8 products are exact here: some processors saturate when they add two of them."""
    rows = np.full((256, 256), LARGEST_CODE, dtype=np.int8)
    rows[1::2] *= -1
    exact = rows.astype(np.int32) @ rows[0].astype(np.int32)
    return np.array_equal(_int8_products(rows, rows[0]), exact)
