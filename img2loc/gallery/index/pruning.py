"""Pruning bounds (PCA + int8): which rows cannot be among the nearest or farthest, proved cheaply.

A pure accelerator, in this module, `pruning_writer` and `onnx_products`: with ENABLED off every
search reads every row, with the same result.

An orthonormal basis is taken from a sample (its leading singular vectors), and each row is stored
as its coordinates there, one byte each. The error is bounded by Cauchy–Schwarz: with
x = x̂ + e + x⊥ (code, rounding, outside the basis) and q = q̂ + d + q⊥ alike,

    |q·x − q̂·x̂| ≤ |d| |x̂| + |q∥| |e| + |q⊥| |x⊥|

One maximum each of |x̂|, |e| and |x⊥| holds for all rows but a few exceptions, which are always
candidates. The exact scores of the rows with the largest products say what the k-th best scores at
least; whose product, with the error, is below that is not among the k best.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings, RowNumbers
from img2loc.gallery.index.onnx_products import (
    LARGEST_AT_ONCE,
    LARGEST_CODE,
    Products,
    at_once,
    exact,
    prepared,
)

ENABLED = True
"""The switch: off, galleries are built without these files, and existing ones are not read."""
FROM_ROWS = 50_000
"""Rows from which they pay; fewer are searched as quickly without."""
FILES = ("bounds.npz", "bounds.npy")
OLD_FILES = ("sketch.npz", "sketch_rows.npy", "sketch_coarse.npy", "sketch_fine.npy")
"""Those of version 0.1.0, which are not read; a gallery that is built again loses them."""
PREPARED_FROM = 16
"""Queries of one process from which a copy of the codes pays that makes products faster."""
_LEADING = 2  # Candidates scored first, for each neighbour wanted.
_USELESS = 0.125  # Share of the rows as candidates from which reading all is quicker.
_AT_ONCE = 16_000_000  # Products held at a time: 64 MB.
_BLOCK = 64  # Rows of which only the best product is read at first.
_SLACK = 2e-5  # Single-precision rounding: of the coordinates and the basis.

Scores = Callable[[RowNumbers], NDArray[np.float64]]
Side = tuple[int, int]
"""How many are wanted, and a sign: 1 for the nearest, -1 for the farthest."""


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
    """The opened files, `codes` of shape (rows, columns) memory-mapped.

    Raises OSError, KeyError or ValueError for damaged ones.
    """

    def __init__(self, folder: Path) -> None:
        small_file, codes_file = (folder / name for name in FILES)
        with small_file.open("rb") as file, np.load(file) as small:
            self._basis: NDArray[np.float64] = small["basis"].astype(np.float64)
            self._columns: NDArray[np.int64] = small["columns"]
            self._scale = float(small["scale"])
            self._longest, self._rounding, self._outside = map(float, small["largest"])
            self.exceptions: RowNumbers = small["exceptions"]
        self.codes: NDArray[np.uint8] = np.load(codes_file, mmap_mode="r")
        self._asked = 0
        self._prepared: Products | None = None

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """The bounds of a gallery's folder; None where it has none."""
        return cls(folder) if ENABLED and (folder / FILES[0]).exists() else None

    def __len__(self) -> int:
        return len(self.codes)

    def candidates(
        self,
        queries: Embeddings,
        sides: Sequence[Sequence[Side]],
        excluded: Sequence[RowNumbers],
        scores: Sequence[Scores],
    ) -> list[list[RowNumbers] | None]:
        """The rows that may be among the k best of each side, for each query.

        None where reading all is quicker. `queries` has shape (n, dim); `scores` give the exact
        similarities of rows to each.
        """
        found: list[list[RowNumbers] | None] = []
        step = max(1, _AT_ONCE // len(self))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            if (coded := self.products(queries[part])) is None:
                return [None] * len(queries)
            group = _Group(self, *coded, excluded[part])
            for number, (both, of_query) in enumerate(zip(sides[part], scores[part], strict=True)):
                rows = [group.candidates(number, k, sign, of_query) for k, sign in both]
                known = [one for one in rows if one is not None]
                found.append(known if len(known) == len(rows) else None)
        return found

    def products(self, queries: Embeddings) -> tuple[list[Coded], Embeddings] | None:
        """Queries, shape (n, dim), in codes, and their products with all rows, shape (n, rows).

        None where this processor has no exact ones.
        """
        self._asked += len(queries)
        if (kernel := self._kernel()) is None:
            return None
        found, largest = kernel
        coded = [self.coded(query, largest) for query in queries]
        return coded, found(np.stack([query.codes for query in coded]))

    def coded(self, query: Embedding, largest: int = LARGEST_CODE) -> Coded:
        """A query, shape (dim,), in codes from −`largest` to it."""
        wide = query.astype(np.float64)
        # Not by BLAS, whose threads would wait for more at full load.
        inside: NDArray[np.float64] = np.vecdot(self._basis, wide)
        length = math.sqrt(inside @ inside)
        outside = math.sqrt(max(float(wide @ wide) - length**2, 0) + 1e-7)
        scale = max(float(np.abs(inside).max(initial=0)), 1e-6) / largest
        row = np.zeros(self.codes.shape[1], dtype=np.int8)
        row[self._columns] = codes = np.rint(inside / scale)
        error: float = np.linalg.norm(inside - codes * scale).item() * self._longest
        unit = scale * self._scale
        error += length * self._rounding + outside * self._outside + unit + _SLACK
        return Coded(row, unit, error)

    def _kernel(self) -> tuple[Products, int] | None:
        if self._asked >= PREPARED_FROM and exact(prepared, LARGEST_CODE):
            if self._prepared is None:
                self._prepared = prepared(self.codes)
            return self._prepared, LARGEST_CODE
        if not exact(at_once, LARGEST_AT_ONCE):
            return None
        return at_once(self.codes), LARGEST_AT_ONCE


class _Group:
    """Some queries and their products with all rows, shape (queries, rows).

    Rows are in blocks: where a block's best row is pruned, the block is. They lie far apart, one in
    each stretch of the gallery, so that the best of many blocks come from sequential reads.
    """

    def __init__(
        self,
        bounds: PruningBounds,
        coded: Sequence[Coded],
        products: Embeddings,
        excluded: Sequence[RowNumbers],
    ) -> None:
        self._bounds, self._excluded = bounds, excluded
        self._count = len(bounds) // _BLOCK
        self._coded, self._products = coded, products

    def candidates(self, number: int, k: int, sign: int, scores: Scores) -> RowNumbers | None:
        """The rows of one query and one side; None where reading all is quicker."""
        if k == 0:
            return np.empty(0, dtype=np.int64)
        if k * _LEADING > _USELESS * self._count:
            return None
        products = self._products[number]
        products[self._excluded[number]] = -sign * np.inf
        blocks = products[: self._count * _BLOCK].reshape(_BLOCK, self._count)
        best = blocks.max(axis=0) if sign > 0 else -blocks.min(axis=0)
        leading = np.argpartition(best, -k * _LEADING)[-k * _LEADING :]
        rows, signed = self._rows(products, leading, sign)
        if len(rows) < k:
            return None
        rows = rows[np.argpartition(signed, -min(k * _LEADING, len(rows)))[-k * _LEADING :]]
        # The k-th best of these: what the k best of all score at least.
        known: float = np.partition(sign * scores(rows), -k)[-k].item()
        coded = self._coded[number]
        least = (known - coded.error) / coded.unit
        rows, signed = self._rows(products, np.flatnonzero(best >= least), sign)
        rows = rows[signed >= least]
        if len(rows) > _USELESS * len(products):
            return None
        rows = np.union1d(rows, self._bounds.exceptions)
        return np.setdiff1d(rows, self._excluded[number])

    def _rows(
        self, products: Embedding, blocks: NDArray[np.int64], sign: int
    ) -> tuple[RowNumbers, NDArray[Any]]:
        """The rows of some blocks and those in no block, less excluded ones; their products."""
        rest = np.arange(self._count * _BLOCK, len(products))
        rows = (blocks + self._count * np.arange(_BLOCK)[:, None]).ravel()
        rows = np.concatenate((rows, rest))
        signed = sign * products[rows]
        kept = np.isfinite(signed)
        return rows[kept], signed[kept]
