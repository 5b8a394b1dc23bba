"""Spherical k-means: which directions stand for the lists of an inverted file, and which of them is nearest to a row.

FAISS can do both; on a CPU its way took five times as long (2,048 directions of 768 numbers), and there are weeks of rows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.types import Embeddings

_ROUNDS = 10
_AT_ONCE = 8_000_000  # Similarities held at a time: 32 MB.


def centres(sample: Embeddings, count: int) -> Embeddings:
    """Unit rows of shape (count, dim), each the mean direction of the rows of the sample that are nearest to it.

    `sample` has shape (n, dim) with n ≥ count, unit rows. The same sample gives the same centres.
    """
    import torch
    from torch.nn.functional import normalize

    rows = torch.from_numpy(sample)
    found = rows[np.sort(np.random.default_rng(0).choice(len(rows), count, replace=False))].clone()
    for _ in range(_ROUNDS):
        lists, similar = (torch.cat(parts) for parts in zip(*_nearest(rows, found), strict=True))
        found = normalize(torch.zeros_like(found).index_add_(0, lists, rows))
        empty = np.flatnonzero(np.bincount(lists.numpy(), minlength=count) == 0)
        # Rows that no centre suits begin anew what nothing is near to.
        found[empty] = rows[torch.topk(similar, len(empty), largest=False).indices]
    result: Embeddings = found.numpy()
    return result


def nearest(rows: Embeddings, centres: Embeddings) -> tuple[NDArray[np.int64], Embeddings]:
    """For each row the number of the centre most similar to it, and how similar that is; both of shape (n,)."""
    import torch

    lists, similar = (
        torch.cat(parts) for parts in zip(*_nearest(torch.from_numpy(rows), torch.from_numpy(centres)), strict=True)
    )
    return lists.numpy(), similar.numpy()


def _nearest(rows: Any, centres: Any) -> Iterator[tuple[Any, Any]]:
    import torch

    for part in torch.split(rows, max(1, _AT_ONCE // len(centres))):
        best = (part @ centres.T).max(dim=1)
        yield best.indices, best.values
