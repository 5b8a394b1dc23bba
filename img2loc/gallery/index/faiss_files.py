"""Index files in FAISS's format: written (a plain matrix as a stream), and opened memory-mapped."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError, first_line
from img2loc.core.types import Embeddings, RowNumbers
from img2loc.gallery.index import kmeans

VECTORS = "gallery.faiss"
_BATCH = 65_536


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
        # The header of an empty matrix has its number of rows at byte 8, after the format's name
        # and the dimension, and closes with the length of the data: in numbers for Flat, in bytes
        # for SQfp16.
        numbers = self._rows * self._dim
        length = numbers if self._dtype.itemsize == 4 else numbers * self._dtype.itemsize
        for offset, value in ((8, self._rows), (len(self._header) - 8, length)):
            self._file.seek(offset)
            self._file.write(value.to_bytes(8, "little"))
        self._file.close()


class QuantizedWriter:
    """Writes a trained FAISS index, which holds all rows in memory until it is closed."""

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


def read_index(path: Path, spec: str) -> Any:
    """Open an index file, memory-mapped."""
    import faiss

    flags = faiss.IO_FLAG_MMAP if spec.startswith("IVF") else faiss.IO_FLAG_MMAP_IFC
    index = faiss.read_index(str(path), flags)
    inverted = faiss.downcast_index(index)
    if isinstance(inverted, faiss.IndexIVF):
        lists: Any = faiss.downcast_InvertedLists(inverted.invlists)  # type: ignore[arg-type]
        if isinstance(lists, faiss.OnDiskInvertedLists):
            # Or every search starts 32 threads that read its lists once more.
            lists.prefetch_nthread = 0
    return index


def matrix_of(index: Any) -> NDArray[np.generic] | None:
    """An opened index's rows, shape (n, dim), where it holds them as a plain matrix; else None."""
    import faiss

    dtype: np.dtype[Any]
    half = faiss.ScalarQuantizer.QT_fp16
    if isinstance(index, faiss.IndexFlat):
        dtype = np.dtype("<f4")
    elif isinstance(index, faiss.IndexScalarQuantizer) and index.sq.qtype == half:
        dtype = np.dtype("<f2")
    else:
        return None
    return codes_of(index).view(dtype)


def codes_of(index: Any) -> NDArray[np.uint8]:
    """The bytes of an opened index's rows, shape (n, bytes), where it holds them as a matrix."""
    import faiss

    codes: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.data(), index.codes.size())
    return codes.reshape(index.ntotal, index.code_size)


def selector(excluded: RowNumbers) -> dict[str, Any]:
    """The search parameter of FAISS that leaves rows out."""
    import faiss

    return {"sel": faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded))} if len(excluded) else {}


def stored_vectors(index: Any) -> Iterator[NDArray[np.generic]]:
    """The vectors of an opened index, in batches of shape (n, dim); an inverted file's by list."""
    import faiss

    if isinstance(index, faiss.IndexIVF):
        lists: Any = index.invlists
        for number in range(index.nlist):
            if count := int(lists.list_size(number)):
                codes = faiss.rev_swig_ptr(lists.get_codes(number), count * int(index.code_size))
                rows = np.empty((count, index.d), dtype=np.float32)
                arrays = (codes, np.full(count, number), rows)
                index.decode_vectors(count, *(faiss.swig_ptr(array) for array in arrays))
                yield rows
        return
    matrix = matrix_of(index)
    for start in range(0, index.ntotal, _BATCH):
        count = min(_BATCH, index.ntotal - start)
        yield index.reconstruct_n(start, count) if matrix is None else matrix[start : start + count]
