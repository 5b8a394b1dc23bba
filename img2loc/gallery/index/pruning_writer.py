"""Writes a gallery's pruning bounds (`pruning`) in bounded memory."""

import io
from array import array
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Embeddings
from img2loc.gallery.index.pruning import FILES, LARGEST_CODE

SAMPLE = 32_768
"""Rows that the basis is taken from."""
_STEP = 64
_TYPICAL = 0.99  # Share of the rows whose |x⊥| one number bounds; the others are compared singly.


class PruningWriter:
    """Writes the four files from the rows as they are stored.

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
            1.2 * float(coordinates[:, part].max(initial=1e-6)) / LARGEST_CODE
            for part in self._parts
        ]
        self._largest = np.zeros((2, 2))  # For each part: of |x̂| and |e|.
        # Growing arrays: many small ones would fragment the memory between them.
        self._outside = (array("f"), array("f"))
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
            codes = (inside / scale).round_().clamp_(-LARGEST_CODE, LARGEST_CODE)
            self._files[number].write(codes.to(torch.int8).numpy().data)
            for kind, shares in enumerate((codes * scale, inside - codes * scale)):
                norms = torch.linalg.vector_norm(shares, dim=1)
                self._largest[number, kind] = max(self._largest[number, kind], float(norms.max()))
            outside = (outside - inside.double().square_().sum(dim=1)).clamp_(min=0)
            # The difference of two nearly equal sums is known to about 1e-6.
            norm = (outside + 1e-6).sqrt_()
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


def _basis(sample: Embeddings) -> tuple[NDArray[np.float32], int]:
    """The sample's leading singular vectors, shape (m, dim), and how many make the coarse part.

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
    # The most similar is the query itself.
    nearest, farthest = scores[:, -2, None], scores[:, 0, None]
    costs = {}
    for coarse in {*range(_STEP, dim, _STEP), dim}:
        estimates = coordinates[queries, :coarse] @ coordinates[:, :coarse].T
        outside = np.linalg.norm(coordinates[:, coarse:], axis=1)
        error = outside[queries][:, None] * outside + 0.02
        remain = (estimates + error >= nearest) | (estimates - error <= farthest)
        costs[coarse] = coarse * (1 + 8 * np.mean(remain))
    coarse = min(costs, key=lambda size: costs[size])
    parts = []
    for part in (directions[:coarse], directions[coarse : 2 * coarse]):
        rotation, _ = np.linalg.qr(random.normal(size=(len(part), len(part))))
        parts.append(rotation @ part)
    return np.concatenate(parts).astype(np.float32), coarse


def _header(rows: int, columns: int) -> bytes:
    """The start of a .npy file of bytes, as long for any number of rows."""
    buffer = io.BytesIO()
    header = {"descr": "|i1", "fortran_order": False, "shape": (rows, columns)}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()
