"""A spec ("auto", or a FAISS factory string) → an index that finds nearest and farthest."""

import math
import re
from typing import Any

import numpy as np

from img2loc.core.errors import GalleryError

FLAT_LIMIT = 100_000
"""Rows up to which "auto" keeps single precision; half precision halves memory and time."""
EXACT_LIMIT = 1_000_000
"""Rows up to which "auto" compares every row; an inverted file is about ten times faster."""

_MATRICES: dict[str, np.dtype[Any]] = {"Flat": np.dtype("<f4"), "SQfp16": np.dtype("<f2")}
# Transforms (PCA, OPQ) shift vectors, so that the negated query no longer finds the farthest; PQ
# loses them.
_FINDS_FARTHEST = re.compile(r"(?:IVF[1-9]\d{0,6},)?(?:Flat|SQfp16|SQbf16|SQ8|SQ6|SQ4)")


def resolve_spec(spec: str, rows: int, of: str = "photos") -> str:
    """The FAISS factory string that "auto" stands for, or the given one.

    Raises GalleryError for an index that loses the farthest.
    """
    if spec == "auto":
        # Probabilities over points and texts come from every row.
        if rows <= EXACT_LIMIT or of != "photos":
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


def matrix_dtype(spec: str) -> np.dtype[Any] | None:
    """The type in which a spec stores its rows, where it is a plain matrix."""
    return _MATRICES.get(spec)


def is_coarse(spec: str) -> bool:
    """Whether it rounds vectors to eight bits or fewer."""
    return not spec.endswith(("Flat", "fp16"))
