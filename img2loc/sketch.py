"""A small copy of a gallery's vectors that says, with proof, which rows cannot be among the nearest or the farthest.

An orthonormal basis is taken from a sample (its leading singular vectors), and each row is kept as its coordinates there, one
byte each: a coarse part that every search reads, and a fine part, read for the rows that the coarse part leaves over. What is
lost is bounded by Cauchy and Schwarz: with x = x̂ + e + x⊥ (coded, rounding, outside the basis) and q = q̂ + d + q⊥ alike,

    |q·x − q̂·x̂| ≤ |d| |x̂| + |q∥| |e| + |q⊥| |x⊥|

where |x⊥| is kept for each row and the other two by their largest value. So the rows that stay are a superset of both ends, and
their exact scores decide.
"""

import io
import math
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.types import Embedding, Embeddings

FILES = ("sketch.npz", "sketch_rows.npy", "sketch_coarse.npy", "sketch_fine.npy")
SAMPLE = 32_768
"""Rows that the basis is taken from."""

Scores = Callable[[NDArray[np.int64]], NDArray[np.float64]]
_FINEST = 127  # Largest code: -128 is not used, so that signs are symmetric.
_BLOCK = 64  # Rows whose best estimate stands for all of them when the first candidates are looked for.
_SLACK = 2e-5  # Single-precision rounding: of the coordinates and the basis.
_STEP = 64
_USUAL = 0.99  # Share of the rows whose |x⊥| is taken as one number; the others are looked at one by one.
_USELESS = 0.25  # Share of the rows left over by the coarse part beyond which reading them all is quicker.
_LEADING = 4  # Candidates looked at first, for each neighbour wanted.


class SketchFile:
    """Takes rows as they are stored, and ends as the four files of a sketch."""

    def __init__(self, folder: Path, sample: Embeddings) -> None:
        self._folder = folder
        basis, coarse = _basis(sample)
        self._basis, self._parts = basis, (slice(0, coarse), slice(coarse, len(basis)))
        placed = np.abs(sample @ basis.T)
        # Rows beyond the sample may have larger coordinates; what is cut off there is counted as lost.
        self._scales = [1.2 * float(placed[:, part].max(initial=1e-6)) / _FINEST for part in self._parts]
        self._largest = np.zeros((2, 2))  # For each part: of |x̂| and |e|.
        self._outside = (array("f"), array("f"))  # That grow: small ones that stay keep the memory between them from reuse.
        self._files = [(folder / name).open("wb") for name in FILES[2:]]
        for file, part in zip(self._files, self._parts, strict=True):
            file.write(_header(0, part.stop - part.start))

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Append rows of shape (n, dim), as they are stored."""
        import torch

        rows = torch.from_numpy(vectors).float()
        placed = rows @ torch.from_numpy(self._basis.T)
        outside = rows.double().square_().sum(dim=1)
        for number, (part, scale) in enumerate(zip(self._parts, self._scales, strict=True)):
            own = placed[:, part]
            codes = (own / scale).round_().clamp_(-_FINEST, _FINEST)
            self._files[number].write(codes.to(torch.int8).numpy().data)
            for kind, shares in enumerate((codes * scale, own - codes * scale)):
                norms = torch.linalg.vector_norm(shares, dim=1)
                self._largest[number, kind] = max(self._largest[number, kind], float(norms.max()))
            outside = (outside - own.double().square_().sum(dim=1)).clamp_(min=0)
            rest = (outside + 1e-6).sqrt_()  # The difference of two nearly equal sums is known to about 1e-6.
            self._outside[number].frombytes(rest.float().numpy().tobytes())

    def close(self) -> None:
        """Finish the files."""
        outside = np.stack([np.frombuffer(kept, np.float32) for kept in self._outside])
        for file, part in zip(self._files, self._parts, strict=True):
            file.seek(0)
            file.write(_header(outside.shape[1], part.stop - part.start))
            file.close()
        np.save(self._folder / FILES[1], outside)
        usual = np.quantile(outside[0], _USUAL)
        np.savez(
            self._folder / FILES[0],
            basis=self._basis,
            coarse=self._parts[0].stop,
            scales=self._scales,
            largest=self._largest,
            usual=usual,
            unusual=np.flatnonzero(outside[0] > usual),
        )

    def abandon(self) -> None:
        """Let go of the files without finishing them."""
        for file in self._files:
            file.close()


class Sketch:
    """An opened sketch, memory-mapped. Raises OSError, KeyError or ValueError for files that are not whole."""

    def __init__(self, folder: Path) -> None:
        with (folder / FILES[0]).open("rb") as file, np.load(file) as small:
            self._basis: NDArray[np.float32] = small["basis"]
            self._scales: list[float] = small["scales"].tolist()
            self._largest: NDArray[np.float64] = small["largest"]
            self.usual, self.unusual = float(small["usual"]), small["unusual"]
            self._parts = (slice(0, int(small["coarse"])), slice(int(small["coarse"]), len(self._basis)))
        self.outside = _mapped(folder / FILES[1])
        self.coarse, self.fine = (_mapped(folder / name) for name in FILES[2:])
        if not len(self.coarse) == len(self.fine) == self.outside.shape[1]:
            raise ValueError("the sketch's files have different lengths")

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """The sketch of a gallery's folder; None where it has none, or where this machine's byte products are not exact."""
        return cls(folder) if (folder / FILES[0]).exists() and _bytes_multiply() else None

    def __len__(self) -> int:
        return len(self.coarse)

    def estimates(self, query: Embedding) -> "Estimates":
        """Every row's similarity to a query of shape (dim,), roughly, and what is needed to say how roughly."""
        import torch

        placed = self._basis.astype(np.float64) @ query.astype(np.float64)
        outside, columns = float((query.astype(np.float64) ** 2).sum()), []
        for part, row_scale, (largest_coded, largest_lost) in zip(self._parts, self._scales, self._largest, strict=True):
            own = placed[part]
            outside = max(outside - float((own**2).sum()), 0.0)
            scale = max(float(np.abs(own).max(initial=0)), 1e-6) / _FINEST
            codes = np.rint(own / scale)
            lost = np.linalg.norm(own - codes * scale) * largest_coded + np.linalg.norm(own) * largest_lost
            # A column of numpy's has a stride of 0, for which torch 2.14 multiplies nothing and gives back what lay in memory.
            bytes_ = torch.from_numpy(codes.astype(np.int8)).unsqueeze(1)
            columns.append(_Column(bytes_, scale * row_scale, float(lost), float(np.sqrt(outside + 1e-7))))
        return Estimates(self, columns, torch._int_mm(torch.from_numpy(self.coarse), columns[0].codes)[:, 0].numpy())


@dataclass(frozen=True, slots=True)
class _Column:
    """A part of a query: its codes, what one of their products with a row's counts, and how far off the sum may be."""

    codes: Any
    unit: float
    lost: float
    outside: float


class Estimates:
    """One query's rough similarities, and the rows that may be at an end."""

    def __init__(self, sketch: Sketch, columns: list[_Column], found: NDArray[np.int32]) -> None:
        self._sketch, self._columns, self._found = sketch, columns, found

    def candidates(self, k: int, sign: int, excluded: NDArray[np.int64], exact: Scores) -> NDArray[np.int64] | None:
        """The rows that may be among the k best, a superset; None where there are so many that all may as well be read.

        `sign` is 1 for the nearest and -1 for the farthest; `exact` gives the similarities of rows.
        """
        import torch

        sketch, found, (coarse, fine) = self._sketch, self._found, self._columns
        worst = -sign * (2**31 - 1)
        found[excluded] = worst
        blocks = _Blocks(found, sign)
        leading = blocks.leading(k * _LEADING)
        leading = leading[found[leading] != worst]
        if len(leading) < k:
            return None
        needed = float(np.partition(sign * exact(leading), -k)[-k]) - coarse.lost - _SLACK
        least = math.floor((needed - coarse.outside * sketch.usual) / coarse.unit)
        left = blocks.from_(least)
        if len(left) > _USELESS * len(found):
            return None
        left = np.concatenate((left, sketch.unusual[sign * found[sketch.unusual] < least]))
        left = left[found[left] != worst]  # Against a query that lies outside the basis no product is bad enough.
        likely = found[left] * (sign * coarse.unit)
        stays = likely + coarse.outside * sketch.outside[0][left] >= needed
        left, likely = left[stays], likely[stays]
        if len(fine.codes):
            likely += torch._int_mm(torch.from_numpy(sketch.fine[left]), fine.codes)[:, 0].numpy() * (sign * fine.unit)
            left = left[likely + fine.outside * sketch.outside[1][left] >= needed - fine.lost]
        return np.asarray(left, np.int64)


class _Blocks:
    """Rows in blocks of which only the best is looked at first, so that most are passed over together.

    A block's rows lie far apart, one in each stretch of the gallery: the best of many blocks is then found from one row after the
    other, as processors like it.
    """

    def __init__(self, found: NDArray[np.int32], sign: int) -> None:
        import torch

        self._found, self._sign, self._count = found, sign, len(found) // _BLOCK
        grid = torch.from_numpy(found[: self._count * _BLOCK]).view(_BLOCK, self._count)
        self._best = grid.amax(dim=0) if sign > 0 else grid.amin(dim=0)

    def leading(self, count: int) -> NDArray[np.int64]:
        """The rows that look best, or nearly so: enough to know how good the k-th is at least."""
        import torch

        chosen = torch.topk(self._best, min(count, self._count), largest=self._sign > 0, sorted=False).indices
        rows = self._rows(chosen.numpy())
        return rows[np.argsort(-self._sign * self._found[rows], kind="stable")[:count]]

    def from_(self, least: int) -> NDArray[np.int64]:
        """Every row that looks as good as this, in no order."""
        best = self._best.numpy()
        rows = self._rows(np.flatnonzero(best >= least if self._sign > 0 else best <= -least))
        rows = np.concatenate((rows, np.arange(self._count * _BLOCK, len(self._found))))
        return rows[self._sign * self._found[rows] >= least]

    def _rows(self, blocks: NDArray[np.int64]) -> NDArray[np.int64]:
        return (blocks + self._count * np.arange(_BLOCK)[:, None]).ravel()


def _basis(sample: Embeddings) -> tuple[NDArray[np.float32], int]:
    """Orthonormal rows that span what matters in the sample, shape (m, dim), and how many of them make the coarse part.

    As many are coarse as make a search cheapest on the sample: bytes of the coarse part, and of the fine part for the rows that
    the coarse part leaves over, which lie scattered and cost several times as much. Within either part the basis is turned at
    random, so that all coordinates have about the same spread and one scale a row serves them.
    """
    wide = sample.astype(np.float64)
    _, directions = np.linalg.eigh(wide.T @ wide / len(wide))
    directions = directions[:, ::-1].T
    dim, random = len(directions), np.random.default_rng(0)
    queries = random.permutation(len(sample))[:64]
    placed = (wide @ directions.T).astype(np.float32)
    scores = placed[queries] @ placed.T
    ends = np.sort(scores, axis=1)[:, [-2, 0]]  # The best is the query itself.
    costs = {}
    for coarse in {*range(_STEP, dim, _STEP), dim}:
        rough = placed[queries, :coarse] @ placed[:, :coarse].T
        outside = np.linalg.norm(placed[:, coarse:], axis=1)
        reach = outside[queries][:, None] * outside + 0.02
        left = np.mean((rough + reach >= ends[:, :1]) | (rough - reach <= ends[:, 1:]))
        costs[coarse] = coarse * (1 + 8 * left)
    coarse = min(costs, key=lambda size: costs[size])
    parts = []
    for part in (directions[:coarse], directions[coarse : 2 * coarse]):
        turn, _ = np.linalg.qr(random.normal(size=(len(part), len(part))))
        parts.append(turn @ part)
    return np.concatenate(parts).astype(np.float32), coarse


def _header(rows: int, columns: int) -> bytes:
    """The start of a .npy file of bytes, as long for any number of rows."""
    buffer = io.BytesIO()
    described = {"descr": "|i1", "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(buffer, described)
    return buffer.getvalue()


def _mapped(path: Path) -> NDArray[Any]:
    # Copy-on-write, because torch warns of arrays that cannot be written to.
    array: NDArray[Any] = np.load(path, mmap_mode="c").view(np.ndarray)
    return array


@cache
def _bytes_multiply() -> bool:
    """Whether products of bytes are exact here: some processors saturate when they add two of them."""
    import torch

    rows = torch.full((256, 256), _FINEST, dtype=torch.int8)
    rows[1::2] = -_FINEST
    column = torch.full((256, 1), _FINEST, dtype=torch.int8)
    return bool(torch.equal(torch._int_mm(rows, column), rows.int() @ column.int()))
