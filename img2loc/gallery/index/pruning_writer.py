"""Writes a gallery's pruning bounds (`pruning`) in bounded memory."""

from array import array
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings
from img2loc.gallery.index.kernels import lengths
from img2loc.gallery.index.onnx_products import BLOCK, LARGEST_CODE, ZERO
from img2loc.gallery.index.pruning import FILES

SAMPLE = 32_768
"""Rows that the basis is taken from."""
_EXCEPTIONS = 1 / 8192  # Share of the rows whose |x⊥| is larger than the one number says.
_ROUNDING = 0.025  # About what the codes of a row and of a query lack inside the basis.
_MARGIN = 1.05  # The other rows lie a little further from the sample's basis than its own.
_QUERIES = 128
_RANK = 2  # In the sample: about the twentieth of 300,000 rows.
_FEW = 1 / 512  # Share of the rows that may remain.
_AT_ONCE = 8192


class PruningWriter:
    """Writes the bounds from the rows as they are stored.

    `open_files` closes their files if the build fails.
    """

    def __init__(self, folder: Path, sample: Embeddings, open_files: ExitStack) -> None:
        self._path, self._basis = folder / FILES[0], _basis(sample)
        inside = sample @ self._basis.T
        # Rows beyond the sample may have larger coordinates; clipped, they become exceptions.
        self._scale = _MARGIN * float(np.abs(inside).max(initial=1e-6)) / LARGEST_CODE
        rounded, rounding, outside = self._parts(sample)
        largest = (lengths(rounded).max(), rounding.max(), _typical(outside))
        self._largest = np.array([_MARGIN * float(norm) for norm in largest])  # |x̂|, |e|, |x⊥|.
        self._rows, self._exceptions = 0, array("q")
        blocks = -(-len(self._basis) // (BLOCK - 1))
        columns = np.delete(np.arange(blocks * BLOCK), np.arange(blocks) * BLOCK)
        self._columns = columns[: len(self._basis)]
        self._codes = open_files.enter_context((folder / FILES[1]).open("wb"))
        self._width = blocks * BLOCK
        self._write_header()

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Append rows of shape (n, dim), as they are stored."""
        for start in range(0, len(vectors), _AT_ONCE):
            self._add(vectors[start : start + _AT_ONCE].astype(np.float32, copy=False))

    def close(self) -> None:
        """Finish the files."""
        self._codes.seek(0)
        self._write_header()
        self._codes.close()
        np.savez(
            self._path,
            basis=self._basis,
            columns=self._columns,
            scale=self._scale,
            largest=self._largest,
            exceptions=np.frombuffer(self._exceptions, np.int64),
        )

    def _write_header(self) -> None:
        """The same number of bytes for any number of rows."""
        shape = {"descr": "|u1", "fortran_order": False, "shape": (self._rows, self._width)}
        np.lib.format.write_array_header_1_0(self._codes, shape)

    def _add(self, rows: Embeddings) -> None:
        rounded, rounding, outside = self._parts(rows)
        codes = np.full((len(rows), self._width), ZERO, dtype=np.uint8)
        codes[:, self._columns] = rounded / self._scale + (ZERO + 0.5)
        self._codes.write(codes.tobytes())
        norms = np.stack((lengths(rounded), rounding, outside), axis=1)
        exceptions = np.flatnonzero((norms > self._largest).any(axis=1)) + self._rows
        self._exceptions.frombytes(exceptions.tobytes())
        self._rows += len(rows)

    def _parts(self, rows: Embeddings) -> tuple[Embeddings, Embeddings, NDArray[np.float64]]:
        """What the rows' codes say, shape (n, m); and |e| and |x⊥| of each, shape (n,)."""
        inside = rows @ self._basis.T
        codes = np.clip(np.rint(inside / self._scale), -LARGEST_CODE, LARGEST_CODE)
        rounded = np.asarray(codes * np.float32(self._scale))
        whole, within = (np.vecdot(part, part, dtype=np.float64) for part in (rows, inside))
        # The difference of two nearly equal sums is known to about 1e-6.
        outside = np.sqrt(np.maximum(whole - within, 0) + 1e-6)
        return rounded, lengths(inside - rounded), outside


def _basis(sample: Embeddings) -> Embeddings:
    """The sample's leading singular vectors, shape (m, dim).

    As few as leave, on the sample, few candidates on either side. They are rotated at random, so
    that all coordinates have about the same spread and one scale serves them.
    """
    wide = sample.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide / len(wide))
    directions = directions[:, ::-1].T
    dim = len(directions)
    coordinates = (wide @ directions.T).astype(np.float32)
    queries = coordinates[np.random.default_rng(0).permutation(len(coordinates))[:_QUERIES]]
    scores = np.sort(queries @ coordinates.T, axis=1)
    # The most similar is the query itself.
    sides = ((1, scores[:, -_RANK - 1]), (-1, -scores[:, _RANK - 1]))
    sizes = (
        size
        for size in range(BLOCK - 1, dim, BLOCK - 1)
        if all(_prunes(coordinates, queries, size, sign, best) for sign, best in sides)
    )
    size = next(sizes, dim)
    rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
    return np.asarray(rotation @ directions[:size], np.float32)


def _prunes(
    coordinates: Embeddings, queries: Embeddings, size: int, sign: int, best: Embedding
) -> bool:
    """Whether the first coordinates leave few enough rows for nine in ten of some queries.

    `best` is what a neighbour of each scores at least, times the sign.
    """
    estimates = sign * (queries[:, :size] @ coordinates[:, :size].T)
    outside = _MARGIN * _typical(lengths(coordinates[:, size:]))
    error = outside * lengths(queries[:, size:]) + _ROUNDING
    left = (estimates >= (best - error)[:, None]).mean(axis=1)
    return bool(np.quantile(left, 0.9) <= _FEW)


def _typical(outside: NDArray[np.floating]) -> float:
    """What |x⊥| is at most, but for the exceptions."""
    return float(np.quantile(outside, 1 - _EXCEPTIONS))
