"""FAISS files of vectors: which index a spec means, writing (a plain matrix as a stream), reading, inner products."""

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError, first_line
from img2loc.core.types import Embeddings
from img2loc.gallery.index import kmeans

FLAT_LIMIT = 100_000
"""Rows up to which the automatic spec keeps single precision; beyond, half precision halves memory and time."""

EXACT_LIMIT = 1_000_000
"""Rows up to which the automatic spec compares every row; beyond, an inverted file answers about ten times faster."""

_MATRICES: dict[str, np.dtype[Any]] = {"Flat": np.dtype("<f4"), "SQfp16": np.dtype("<f2")}
LENGTH = 1e-3
"""Tolerance of a unit vector's length."""
VECTORS = "gallery.faiss"
_BATCH = 65_536
_WIDENED = 1_000_000  # Numbers: 4 MB.
# Transforms (PCA, OPQ) shift vectors, so that the negated query no longer finds the farthest; PQ
# loses them.
_FINDS_FARTHEST = re.compile(r"(?:IVF[1-9]\d{0,6},)?(?:Flat|SQfp16|SQbf16|SQ8|SQ6|SQ4)")


def resolve_spec(spec: str, rows: int, of: str = "photos") -> str:
    """The FAISS factory string that "auto" stands for, or the given one.

    Raises GalleryError for what loses the farthest.
    """
    if spec == "auto":
        if (
            rows <= EXACT_LIMIT or of != "photos"
        ):  # Probabilities over points and texts come from every row.
            return "Flat" if rows <= FLAT_LIMIT else "SQfp16"
        return f"IVF{2 ** round(math.log2(2 * math.sqrt(rows)))},SQfp16"
    refuse_graphs(spec)
    if not _FINDS_FARTHEST.fullmatch(spec):
        raise GalleryError(
            f"The index {spec!r} is not known to find both the nearest and the farthest. Choose"
            " Flat, SQfp16, SQ8, or an inverted file over them, such as IVF4096,SQfp16."
        )
    return spec


def refuse_graphs(name: str) -> None:
    """Raise GalleryError for the spec or class of a graph index."""
    if re.search(r"(^|,|Index)(HNSW|NSG|NNDescent)", name):
        raise GalleryError(
            f"{name!r} is a graph index: it finds the nearest but only one to three in ten of the"
            " farthest (measured). Choose Flat, SQfp16, SQ8 or an inverted file such as"
            " IVF4096,SQfp16."
        )


class FlatWriter:
    """Writes FAISS's file of a plain matrix; rows go to the disk as they come.

    `open_files` closes it if the build fails.
    """

    def __init__(self, path: Path, index: Any, dtype: np.dtype[Any], open_files: ExitStack) -> None:
        import faiss

        self._dtype, self._dim, self._rows = dtype, int(index.d), 0
        self._header = faiss.serialize_index(index).tobytes()
        self._file = open_files.enter_context(path.open("wb"))
        self._file.write(self._header)

    def add(self, vectors: NDArray[np.generic]) -> None:
        """Append rows of shape (n, dim)."""
        self._file.write(np.ascontiguousarray(vectors, dtype=self._dtype).tobytes())
        self._rows += len(vectors)

    def close(self) -> None:
        """Finish the file."""
        # FAISS's file of an empty matrix ends with the length of its (here missing) data, counted
        # in numbers for Flat and in bytes for the others; the number of rows stands behind its name
        # and dimension.
        unit = 1 if self._dtype.itemsize == 2 else self._dtype.itemsize
        length = self._rows * self._dim * self._dtype.itemsize // unit
        for offset, value in ((8, self._rows), (len(self._header) - 8, length)):
            self._file.seek(offset)
            self._file.write(value.to_bytes(8, "little"))
        self._file.close()


class QuantizedWriter:
    """Writes a trained FAISS index, which holds all rows in memory until the end."""

    def __init__(self, path: Path, index: Any) -> None:
        self._path, self._index = path, index

    def add(self, vectors: Embeddings) -> None:
        """Append rows of shape (n, dim)."""
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def close(self) -> None:
        """Write the file."""
        import faiss

        try:
            faiss.write_index(self._index, str(self._path))
        except RuntimeError as error:
            raise OSError(f"{self._path}: {first_line(error)}") from error


def matrix_dtype(spec: str) -> np.dtype[Any] | None:
    """The type in which a spec stores its rows, where it is a plain matrix."""
    return _MATRICES.get(spec)


def read_index(path: Path, spec: str) -> Any:
    """Open an index file, memory-mapped."""
    import faiss

    index = faiss.read_index(
        str(path), faiss.IO_FLAG_MMAP if spec.startswith("IVF") else faiss.IO_FLAG_MMAP_IFC
    )
    inverted = faiss.downcast_index(index)
    if isinstance(inverted, faiss.IndexIVF):
        lists: Any = faiss.downcast_InvertedLists(inverted.invlists)  # type: ignore[arg-type]
        if isinstance(lists, faiss.OnDiskInvertedLists):
            lists.prefetch_nthread = (
                0  # Or every search starts 32 threads that read its lists once more.
            )
    return index


def matrix_of(index: Any) -> NDArray[np.generic] | None:
    """The rows of an opened index where they lie in memory as a plain matrix, shape (n, dim), float32 or float16; else None."""
    import faiss

    if isinstance(index, faiss.IndexFlat):
        dtype = _MATRICES["Flat"]
    elif (
        isinstance(index, faiss.IndexScalarQuantizer)
        and index.sq.qtype == faiss.ScalarQuantizer.QT_fp16
    ):
        dtype = _MATRICES["SQfp16"]
    else:
        return None
    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.view(dtype).reshape(index.ntotal, index.d)


def stored_vectors(index: Any) -> Iterator[NDArray[np.generic]]:
    """The vectors of an opened index, in batches of shape (n, dim); an inverted file's list by list."""
    import faiss

    matrix = matrix_of(index)
    if isinstance(index, faiss.IndexIVF):
        lists, width = index.invlists, int(index.code_size)
        for number in range(index.nlist):
            if count := int(lists.list_size(number)):  # type: ignore[union-attr]
                assigned, rows = (
                    np.full(count, number),
                    np.empty((count, index.d), dtype=np.float32),
                )
                codes = faiss.rev_swig_ptr(lists.get_codes(number), count * width)  # type: ignore[union-attr]
                index.decode_vectors(
                    count, *(faiss.swig_ptr(array) for array in (codes, assigned, rows))
                )
                yield rows
        return
    for start in range(0, index.ntotal, _BATCH):
        count = min(_BATCH, index.ntotal - start)
        yield index.reconstruct_n(start, count) if matrix is None else matrix[start : start + count]


def products(matrix: NDArray[np.generic], queries: Embeddings) -> Embeddings:
    """Inner products of queries (n, dim) with the rows of a matrix, shape (n, rows), in single precision; one pass over it."""
    import torch

    columns = torch.from_numpy(np.ascontiguousarray(queries.T, dtype=np.float32))
    rows, out = torch.from_numpy(matrix), torch.empty(len(matrix), len(queries))
    if rows.dtype == torch.float32:
        torch.mm(rows, columns, out=out)
    else:
        # Half precision is widened piece by piece, into one place that stays in the processor's
        # cache.
        step = max(1, _WIDENED // matrix.shape[1])
        wide = torch.empty(min(step, len(matrix)), matrix.shape[1])
        for start in range(0, len(matrix), step):
            part = wide[: len(matrix) - start].copy_(rows[start : start + step])
            torch.mm(part, columns, out=out[start : start + step])
    similarities: Embeddings = out.T.numpy()
    return similarities


def new_index(spec: str, dim: int) -> Any:
    """An empty FAISS index. Raises GalleryError for a spec that FAISS does not know."""
    import faiss

    try:
        return faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise GalleryError(
            f"FAISS does not know the index {spec!r} ({first_line(error)}). Try Flat or SQfp16."
        ) from error


def train(index: Any, spec: str, sample: Embeddings) -> None:
    """Train an index. Raises GalleryError for too few rows."""
    import faiss

    if isinstance(index, faiss.IndexIVF):
        if len(sample) < index.nlist:
            raise GalleryError(
                f"{len(sample):,} rows are too few for the {index.nlist:,} lists of {spec!r}."
                " Choose Flat."
            )
        index.quantizer.add(kmeans.centroids(sample, index.nlist))
    try:
        index.train(sample)
    except RuntimeError as error:
        raise GalleryError(
            f"{len(sample)} rows are too few to train the index {spec!r} ({first_line(error)})."
            " Choose Flat."
        ) from error


def converted(vectors: NDArray[np.generic], dtype: str) -> NDArray[Any]:
    """The same numbers as "float16" or "float32".

    By torch: numpy takes five times as long over half precision.
    """
    import torch

    result: NDArray[Any] = torch.from_numpy(vectors).to(getattr(torch, dtype)).numpy()
    return result


def lengths(vectors: Embeddings) -> Embeddings:
    """The length of each row, shape (n,)."""
    import torch

    norms: Embeddings = torch.linalg.vector_norm(torch.from_numpy(vectors), dim=1).numpy()
    return norms


def check_unit(vectors: Embeddings, rows: int) -> None:
    """Raise GalleryError unless there is a vector of unit length for each row."""
    if len(vectors) != rows:
        raise GalleryError(
            f"{len(vectors)} vectors came with {rows} rows; each needs one of the other."
        )
    off = np.abs(lengths(vectors) - 1)
    if not np.all(off < LENGTH):
        worst = lengths(vectors)[np.argmax(off)]  # NaN counts as the largest.
        raise GalleryError(
            f"A vector has length {worst:.4g}; a gallery takes unit vectors only. Divide by the"
            " norm first."
        )
