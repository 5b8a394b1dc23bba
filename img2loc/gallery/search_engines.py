"""A gallery's folder and manifest → its vector index, by the manifest's `engine`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core.errors import GalleryError
from img2loc.core.protocols import VectorIndex
from img2loc.gallery.index.faiss_files import VECTORS, matrix_of, read_index
from img2loc.gallery.index.ivf import InvertedFileIndex
from img2loc.gallery.index.ivf_writer import MEANS
from img2loc.gallery.index.pruning import PruningBounds
from img2loc.gallery.index.search import FlatIndex, QuantizedIndex
from img2loc.gallery.index.spec import refuse_graphs


def open_index(folder: Path, manifest: Mapping[str, Any]) -> VectorIndex:
    """The index, memory-mapped.

    Raises GalleryError for an unknown engine and for a graph index, and OSError, RuntimeError,
    ValueError, KeyError or BadZipFile for damaged files.
    """
    if (engine := manifest.get("engine", "faiss")) != "faiss":
        raise GalleryError(
            f"The gallery {folder} needs the search engine {engine!r}; this version has faiss."
            " Update img2loc."
        )
    import faiss

    file = read_index(folder / VECTORS, str(manifest.get("spec")))
    index: Any = faiss.downcast_index(file)
    refuse_graphs(type(index).__name__)
    if (matrix := matrix_of(index)) is not None:
        return FlatIndex(file, matrix, PruningBounds.open(folder))
    if isinstance(index, faiss.IndexIVF):
        return InvertedFileIndex(file, np.load(folder / MEANS), manifest.get("probes"))
    return QuantizedIndex(file)
