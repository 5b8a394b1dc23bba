"""Writes a gallery's pruning bounds (`pruning`) in bounded memory."""

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings
from img2loc.gallery.index.faiss_files import FlatWriter
from img2loc.gallery.index.kernels import lengths
from img2loc.gallery.index.pruning import LARGEST_CODE, SHARE, SIDES, ZERO

SAMPLE = 32_768
"""Rows that the basis is taken from."""
_STEP = 32  # Columns; FAISS's vectorised products need a multiple of it.
_EXCEPTIONS = 1 / 8192  # Share of the rows whose |x⊥| is larger than the one number says.
_ROUNDING = 0.025  # About what the codes of a row and of a query lack inside the basis.
_MARGIN = 1.05  # The other rows lie a little further from the sample's basis than its own.
_QUERIES = 128
_RANK = 2  # In the sample: about the twentieth of 300,000 rows.
_AT_ONCE = 8192


class PruningWriter:
    """Writes the bounds of either side from the rows as they are stored.

    `open_files` closes their files if the build fails.
    """

    def __init__(self, folder: Path, sample: Embeddings, open_files: ExitStack) -> None:
        self._sides = [
            _SideWriter(folder, name, sample, basis, open_files)
            for name, basis in zip(SIDES, _bases(sample), strict=True)
        ]

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Append rows of shape (n, dim), as they are stored."""
        for start in range(0, len(vectors), _AT_ONCE):
            rows = vectors[start : start + _AT_ONCE].astype(np.float32, copy=False)
            for side in self._sides:
                side.add(rows)

    def close(self) -> None:
        """Finish the files."""
        for side in self._sides:
            side.close()


class _SideWriter:
    def __init__(
        self, folder: Path, name: str, sample: Embeddings, basis: Embeddings, open_files: ExitStack
    ) -> None:
        import faiss

        self._path, self._basis = folder / f"{name}.npz", basis
        inside = sample @ self._basis.T
        # Rows beyond the sample may have larger coordinates; clipped, they become exceptions.
        self._scale = _MARGIN * float(np.abs(inside).max(initial=1e-6)) / LARGEST_CODE
        rounded, rounding, outside = self._parts(sample)
        largest = (lengths(rounded).max(), rounding.max(), _typical(outside))
        self._largest = np.array([_MARGIN * float(norm) for norm in largest])  # |x̂|, |e|, |x⊥|.
        self._rows, self._exceptions = 0, array("q")
        self._columns = -(-len(self._basis) // _STEP) * _STEP
        kind = faiss.ScalarQuantizer.QT_8bit_direct_signed
        index = faiss.IndexScalarQuantizer(self._columns, kind, faiss.METRIC_INNER_PRODUCT)
        self._file = FlatWriter(folder / f"{name}.faiss", index, np.dtype(np.uint8), open_files)

    def add(self, rows: Embeddings) -> None:
        rounded, rounding, outside = self._parts(rows)
        codes = np.full((len(rows), self._columns), ZERO, dtype=np.uint8)
        codes[:, : len(self._basis)] = rounded / self._scale + (ZERO + 0.5)
        self._file.add(codes)
        norms = np.stack((lengths(rounded), rounding, outside), axis=1)
        exceptions = np.flatnonzero((norms > self._largest).any(axis=1)) + self._rows
        self._exceptions.frombytes(exceptions.tobytes())
        self._rows += len(rows)

    def close(self) -> None:
        self._file.close()
        np.savez(
            self._path,
            basis=self._basis,
            scale=self._scale,
            largest=self._largest,
            exceptions=np.frombuffer(self._exceptions, np.int64),
        )

    def _parts(self, rows: Embeddings) -> tuple[Embeddings, Embeddings, NDArray[np.float64]]:
        """What the rows' codes say, shape (n, m); and |e| and |x⊥| of each, shape (n,)."""
        inside = rows @ self._basis.T
        codes = np.clip(np.rint(inside / self._scale), -LARGEST_CODE, LARGEST_CODE)
        rounded = np.asarray(codes * np.float32(self._scale))
        whole, within = (np.vecdot(part, part, dtype=np.float64) for part in (rows, inside))
        # The difference of two nearly equal sums is known to about 1e-6.
        outside = np.sqrt(np.maximum(whole - within, 0) + 1e-6)
        return rounded, lengths(inside - rounded), outside


def _bases(sample: Embeddings) -> Iterator[Embeddings]:
    """For either side the sample's leading singular vectors, shape (m, dim).

    As few as leave, on the sample, no more rows than a search looks at first. They are rotated at
    random, so that all coordinates have about the same spread and one scale serves them.
    """
    wide = sample.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide / len(wide))
    directions = directions[:, ::-1].T
    dim = len(directions)
    coordinates = (wide @ directions.T).astype(np.float32)
    queries = coordinates[np.random.default_rng(0).permutation(len(coordinates))[:_QUERIES]]
    scores = np.sort(queries @ coordinates.T, axis=1)
    # The most similar is the query itself.
    for sign, best in ((1, scores[:, -_RANK - 1]), (-1, -scores[:, _RANK - 1])):
        sizes = (
            m for m in range(_STEP, dim, _STEP) if _prunes(coordinates, queries, m, sign, best)
        )
        size = next(sizes, dim)
        rotation, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(size, size)))
        yield np.asarray(rotation @ directions[:size], np.float32)


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
    return bool(np.quantile(left, 0.9) <= 1 / SHARE)


def _typical(outside: NDArray[np.floating]) -> float:
    """What |x⊥| is at most, but for the exceptions."""
    return float(np.quantile(outside, 1 - _EXCEPTIONS))
