"""Pruning bounds (PCA + int8): a small copy of the vectors that proves which rows cannot be among the nearest or farthest.

An orthonormal basis is taken from a sample (its leading singular vectors), and each row is stored
as its coordinates there, one byte each: a coarse part that every search reads, and a fine part,
read for the rows that the coarse part does not prune. The error is bounded by Cauchy–Schwarz: with
x = x̂ + e + x⊥ (code, rounding, outside the basis) and q = q̂ + d + q⊥ alike,

    |q·x − q̂·x̂| ≤ |d| |x̂| + |q∥| |e| + |q⊥| |x⊥|

where |x⊥| is stored for each row and the other two by their maximum. So the rows that remain are a
superset of the nearest and farthest, and their exact scores decide. Without these files a search
reads every row.
"""

import io
import math
from array import array
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embedding, Embeddings, RowNumbers

FILES = ("sketch.npz", "sketch_rows.npy", "sketch_coarse.npy", "sketch_fine.npy")
SAMPLE = 32_768
"""Rows that the basis is taken from."""

Scores = Callable[[RowNumbers], NDArray[np.float64]]
_LARGEST_CODE = 127  # -128 is not used, so that signs are symmetric.
_BLOCK = 64  # Rows of which only the best estimate is read when the first candidates are chosen.
_SLACK = 2e-5  # Single-precision rounding: of the coordinates and the basis.
_STEP = 64
_TYPICAL = (
    0.99  # Share of the rows for which one number bounds |x⊥|; the others are compared one by one.
)
_USELESS = 0.25  # Share of the rows not pruned by the coarse part beyond which reading them all is quicker.
_LEADING = 4  # Candidates scored first, for each neighbour wanted.


class PruningWriter:
    """Writes the four files from the rows as they are stored;

    `open_files` closes them if the build fails.
    """

    def __init__(self, folder: Path, sample: Embeddings, open_files: ExitStack) -> None:
        self._folder = folder
        basis, coarse = _basis(sample)
        self._basis, self._parts = basis, (slice(0, coarse), slice(coarse, len(basis)))
        coordinates = np.abs(sample @ basis.T)
        # Rows beyond the sample may have larger coordinates; what is clipped there counts as
        # rounding.
        self._scales = [
            1.2 * float(coordinates[:, part].max(initial=1e-6)) / _LARGEST_CODE
            for part in self._parts
        ]
        self._largest = np.zeros((2, 2))  # For each part: of |x̂| and |e|.
        self._outside = (
            array("f"),
            array("f"),
        )  # Growing arrays: many small ones would fragment the memory between them.
        self._files = [open_files.enter_context((folder / name).open("wb")) for name in FILES[2:]]
        for file, part in zip(self._files, self._parts, strict=True):
            file.write(_header(0, part.stop - part.start))

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Append rows of shape (n, dim), as they are stored."""
        import torch

        rows = torch.from_numpy(vectors).float()
        coordinates = rows @ torch.from_numpy(self._basis.T)
        outside = rows.double().square_().sum(dim=1)
        for number, (part, scale) in enumerate(zip(self._parts, self._scales, strict=True)):
            inside = coordinates[:, part]
            codes = (inside / scale).round_().clamp_(-_LARGEST_CODE, _LARGEST_CODE)
            self._files[number].write(codes.to(torch.int8).numpy().data)
            for kind, shares in enumerate((codes * scale, inside - codes * scale)):
                norms = torch.linalg.vector_norm(shares, dim=1)
                self._largest[number, kind] = max(self._largest[number, kind], float(norms.max()))
            outside = (outside - inside.double().square_().sum(dim=1)).clamp_(min=0)
            norm = (
                outside + 1e-6
            ).sqrt_()  # The difference of two nearly equal sums is known to about 1e-6.
            self._outside[number].frombytes(norm.float().numpy().tobytes())

    def close(self) -> None:
        """Finish the files."""
        outside = np.stack([np.frombuffer(norms, np.float32) for norms in self._outside])
        for file, part in zip(self._files, self._parts, strict=True):
            file.seek(0)
            file.write(_header(outside.shape[1], part.stop - part.start))
            file.close()
        np.save(self._folder / FILES[1], outside)
        typical = np.quantile(outside[0], _TYPICAL)
        np.savez(
            self._folder / FILES[0],
            basis=self._basis,
            coarse=self._parts[0].stop,
            scales=self._scales,
            largest=self._largest,
            usual=typical,
            unusual=np.flatnonzero(outside[0] > typical),
        )


class PruningBounds:
    """The opened files, memory-mapped. Raises OSError, KeyError or ValueError for damaged ones."""

    def __init__(self, folder: Path) -> None:
        with (folder / FILES[0]).open("rb") as file, np.load(file) as small:
            self._basis: NDArray[np.float32] = small["basis"]
            self._scales: list[float] = small["scales"].tolist()
            self._largest: NDArray[np.float64] = small["largest"]
            self.typical, self.atypical = float(small["usual"]), small["unusual"]
            self._parts = (
                slice(0, int(small["coarse"])),
                slice(int(small["coarse"]), len(self._basis)),
            )
        self.outside = _mapped(folder / FILES[1])
        self.coarse, self.fine = (_mapped(folder / name) for name in FILES[2:])
        if not len(self.coarse) == len(self.fine) == self.outside.shape[1]:
            raise ValueError("the files of its pruning bounds have different lengths")

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """The bounds of a gallery's folder;

        None where it has none, or where this machine's int8 products are not exact.
        """
        return cls(folder) if (folder / FILES[0]).exists() and _int8_products_are_exact() else None

    def __len__(self) -> int:
        return len(self.coarse)

    def estimates(self, query: Embedding) -> "Estimates":
        """An estimate of every row's similarity to a query of shape (dim,), and what bounds its error."""
        coordinates = self._basis.astype(np.float64) @ query.astype(np.float64)
        outside, columns = float((query.astype(np.float64) ** 2).sum()), []
        for part, row_scale, (largest_code, largest_rounding) in zip(
            self._parts, self._scales, self._largest, strict=True
        ):
            inside = coordinates[part]
            outside = max(outside - float((inside**2).sum()), 0.0)
            scale = max(float(np.abs(inside).max(initial=0)), 1e-6) / _LARGEST_CODE
            codes = np.rint(inside / scale)
            rounding = (
                np.linalg.norm(inside - codes * scale) * largest_code
                + np.linalg.norm(inside) * largest_rounding
            )
            columns.append(
                _Column(
                    codes.astype(np.int8),
                    scale * row_scale,
                    float(rounding),
                    float(np.sqrt(outside + 1e-7)),
                )
            )
        return Estimates(self, columns, _int8_products(self.coarse, columns[0].codes))


@dataclass(frozen=True, slots=True)
class _Column:
    """A part of a query: its codes, the unit of their products with a row's codes, the bound of the rounding, and |q⊥|."""

    codes: NDArray[np.int8]
    unit: float
    rounding: float
    outside: float


class Estimates:
    """One query's estimated similarities, and the rows that may be among its nearest or farthest."""

    def __init__(
        self, bounds: PruningBounds, columns: list[_Column], estimated: NDArray[np.int32]
    ) -> None:
        self._bounds, self._columns, self._estimated = bounds, columns, estimated

    def candidates(
        self, k: int, sign: int, excluded: RowNumbers, exact: Scores
    ) -> RowNumbers | None:
        """The rows that may be among the k best, a superset; None where reading all rows is quicker than so many.

        `sign` is 1 for the nearest and -1 for the farthest; `exact` gives the similarities of rows.
        """
        bounds, estimated, (coarse, fine) = self._bounds, self._estimated, self._columns
        worst = -sign * (2**31 - 1)
        estimated[excluded] = worst
        blocks = _Blocks(estimated, sign)
        leading = blocks.leading(k * _LEADING)
        leading = leading[estimated[leading] != worst]
        if len(leading) < k:
            return None
        needed = float(np.partition(sign * exact(leading), -k)[-k]) - coarse.rounding - _SLACK
        threshold = math.floor((needed - coarse.outside * bounds.typical) / coarse.unit)
        rows = blocks.at_least(threshold)
        if len(rows) > _USELESS * len(estimated):
            return None
        rows = np.concatenate(
            (rows, bounds.atypical[sign * estimated[bounds.atypical] < threshold])
        )
        rows = rows[
            estimated[rows] != worst
        ]  # For a query outside the basis no estimate is below the threshold.
        scores = estimated[rows] * (sign * coarse.unit)
        stays = scores + coarse.outside * bounds.outside[0][rows] >= needed
        rows, scores = rows[stays], scores[stays]
        if len(fine.codes):
            scores += _int8_products(bounds.fine[rows], fine.codes) * (sign * fine.unit)
            rows = rows[scores + fine.outside * bounds.outside[1][rows] >= needed - fine.rounding]
        return np.asarray(rows, np.int64)


class _Blocks:
    """Rows in blocks, of which only the best row is compared first, so that most blocks are pruned as a whole.

    A block's rows lie far apart, one in each stretch of the gallery, so that the best of many
    blocks come from sequential reads.
    """

    def __init__(self, estimated: NDArray[np.int32], sign: int) -> None:
        import torch

        self._estimated, self._sign, self._count = estimated, sign, len(estimated) // _BLOCK
        grid = torch.from_numpy(estimated[: self._count * _BLOCK]).view(_BLOCK, self._count)
        self._best = grid.amax(dim=0) if sign > 0 else grid.amin(dim=0)

    def leading(self, count: int) -> RowNumbers:
        """About the best rows by estimate: enough to know what the k-th best scores at least."""
        import torch

        chosen = torch.topk(
            self._best, min(count, self._count), largest=self._sign > 0, sorted=False
        ).indices
        rows = self._rows(chosen.numpy())
        return rows[np.argsort(-self._sign * self._estimated[rows], kind="stable")[:count]]

    def at_least(self, threshold: int) -> RowNumbers:
        """Every row with such an estimate or a better one, in no order."""
        best = self._best.numpy()
        rows = self._rows(
            np.flatnonzero(best >= threshold if self._sign > 0 else best <= -threshold)
        )
        rows = np.concatenate((rows, np.arange(self._count * _BLOCK, len(self._estimated))))
        return rows[self._sign * self._estimated[rows] >= threshold]

    def _rows(self, blocks: NDArray[np.int64]) -> RowNumbers:
        return (blocks + self._count * np.arange(_BLOCK)[:, None]).ravel()


def _basis(sample: Embeddings) -> tuple[NDArray[np.float32], int]:
    """The sample's leading singular vectors, shape (m, dim), and how many of them make the coarse part.

    The coarse part has the size that makes a search cheapest on the sample: bytes of the coarse
    part, and of the fine part for the rows that are not pruned, which lie scattered and cost
    several times as much. Within either part the basis is rotated at random, so that all
    coordinates have about the same spread and one scale serves them.
    """
    wide = sample.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide / len(wide))
    directions = directions[:, ::-1].T
    dim, random = len(directions), np.random.default_rng(0)
    queries = random.permutation(len(sample))[:64]
    coordinates = (wide @ directions.T).astype(np.float32)
    scores = np.sort(coordinates[queries] @ coordinates.T, axis=1)
    nearest, farthest = (
        scores[:, -2, None],
        scores[:, 0, None],
    )  # The most similar is the query itself.
    costs = {}
    for coarse in {*range(_STEP, dim, _STEP), dim}:
        estimates = coordinates[queries, :coarse] @ coordinates[:, :coarse].T
        outside = np.linalg.norm(coordinates[:, coarse:], axis=1)
        error = outside[queries][:, None] * outside + 0.02
        costs[coarse] = coarse * (
            1 + 8 * np.mean((estimates + error >= nearest) | (estimates - error <= farthest))
        )
    coarse = min(costs, key=lambda size: costs[size])
    parts = []
    for part in (directions[:coarse], directions[coarse : 2 * coarse]):
        rotation, _ = np.linalg.qr(random.normal(size=(len(part), len(part))))
        parts.append(rotation @ part)
    return np.concatenate(parts).astype(np.float32), coarse


def _header(rows: int, columns: int) -> bytes:
    """The start of a .npy file of bytes, as long for any number of rows."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "|i1", "fortran_order": False, "shape": (rows, columns)}
    )
    return buffer.getvalue()


def _mapped(path: Path) -> NDArray[Any]:
    # Copy-on-write, because torch warns of arrays that cannot be written to.
    array: NDArray[Any] = np.load(path, mmap_mode="c").view(np.ndarray)
    return array


def _int8_products(rows: NDArray[np.int8], codes: NDArray[np.int8]) -> NDArray[np.int32]:
    """Inner products of rows, shape (n, m), with one query's codes, shape (m,)."""
    import torch

    # By `unsqueeze`, because a column made by numpy has a stride of 0, from which torch 2.14
    # computes wrong products.
    products: NDArray[np.int32] = torch._int_mm(
        torch.from_numpy(rows), torch.from_numpy(codes).unsqueeze(1)
    )[:, 0].numpy()
    return products


@cache
def _int8_products_are_exact() -> bool:
    """Whether int8 products are exact here: some processors saturate when they add two of them."""
    rows = np.full((256, 256), _LARGEST_CODE, dtype=np.int8)
    rows[1::2] *= -1
    return bool(
        np.array_equal(
            _int8_products(rows, rows[0]), rows.astype(np.int32) @ rows[0].astype(np.int32)
        )
    )
