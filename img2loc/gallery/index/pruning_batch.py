"""Pruning of many queries at once: one product of 8-bit codes for all of them and both sides."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings, RowNumbers
from img2loc.gallery.index.onnx_products import LARGEST_CODE, code_products
from img2loc.gallery.index.pruning import (
    LEADING,
    USELESS,
    ZERO,
    Scores,
    Side,
    SideBounds,
    least_product,
)

FEWEST = 8
"""Queries from which it pays: onnxruntime takes as long over one as over sixteen."""
_AT_ONCE = 64_000_000  # Products held at a time: 256 MB.
_BLOCK = 64  # Rows of which only the best product is read at first.
_WORST = 2**31 - 1  # The product of rows that are excluded, but for its sign.


def candidates(
    bounds: SideBounds,
    queries: Embeddings,
    sides: Sequence[Sequence[Side]],
    excluded: Sequence[RowNumbers],
    exact: Sequence[Scores],
) -> list[list[RowNumbers] | None]:
    """What `PruningBounds.candidates` gives, for each query; `queries` has shape (n, dim).

    `bounds` are those of the farthest, which serve both sides.
    """
    found: list[list[RowNumbers] | None] = []
    step = max(1, _AT_ONCE // len(bounds))
    for start in range(0, len(queries), step):
        part = slice(start, start + step)
        group = _Group(bounds, queries[part], excluded[part])
        by_side = [group.candidates(one, exact[part]) for one in zip(*sides[part], strict=True)]
        for rows in zip(*by_side, strict=True):
            known = [one for one in rows if one is not None]
            found.append(known if len(known) == len(rows) else None)
    return found


class _Group:
    """The products of some queries with all rows, shape (rows, queries).

    Rows are in blocks: where a block's best row is pruned, the block is. They lie far apart, one in
    each stretch of the gallery, so that the best of many blocks come from sequential reads.
    """

    def __init__(
        self, bounds: SideBounds, queries: Embeddings, excluded: Sequence[RowNumbers]
    ) -> None:
        self._bounds, self._excluded = bounds, excluded
        self._count = len(bounds) // _BLOCK
        self._coded = [bounds.coded(query, LARGEST_CODE) for query in queries]
        codes = np.stack([query.codes for query in self._coded])
        self._products = code_products(bounds.codes, codes)
        self._products -= ZERO * codes.sum(axis=1, dtype=np.int32)

    def candidates(self, sides: Sequence[Side], exact: Sequence[Scores]) -> list[RowNumbers | None]:
        """One side's rows of each query; `sides` have one sign."""
        sign = sides[0][1]
        for number, rows in enumerate(self._excluded):
            self._products[rows, number] = -sign * _WORST
        blocks = self._products[: self._count * _BLOCK].reshape(_BLOCK, self._count, -1)
        best = blocks.max(axis=0) if sign > 0 else -blocks.min(axis=0)
        return [
            self._of_one(number, k, sign, of_blocks, exact[number])
            for number, ((k, _), of_blocks) in enumerate(
                zip(sides, np.ascontiguousarray(best.T), strict=True)
            )
        ]

    def _of_one(
        self, number: int, k: int, sign: int, best: NDArray[np.int32], exact: Scores
    ) -> RowNumbers | None:
        if k == 0:
            return np.empty(0, dtype=np.int64)
        if k * LEADING > USELESS * self._count:
            return None
        blocks = np.argpartition(-best, k * LEADING)[: k * LEADING]
        rows, products = self._rows(number, blocks, sign)
        if len(rows) < k:
            return None
        rows = rows[np.argsort(-products, kind="stable")[: k * LEADING]]
        threshold = least_product(self._coded[number], k, sign, rows, exact)
        rows, products = self._rows(number, np.flatnonzero(best >= threshold), sign)
        rows = rows[products >= threshold]
        if len(rows) > USELESS * len(self._products):
            return None
        return self._bounds.joined(rows, self._excluded[number])

    def _rows(
        self, number: int, blocks: NDArray[np.int64], sign: int
    ) -> tuple[RowNumbers, NDArray[Any]]:
        """The rows of some blocks and those in no block, less excluded ones; their products."""
        rest = np.arange(self._count * _BLOCK, len(self._products))
        rows = (blocks + self._count * np.arange(_BLOCK)[:, None]).ravel()
        rows = np.concatenate((rows, rest))
        products = sign * self._products[rows, number]
        kept = products != -_WORST
        return rows[kept], products[kept]
