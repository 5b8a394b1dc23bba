"""Rows of a gallery drawn at random for a photograph: the control of its neighbours."""

from collections.abc import Sequence

import numpy as np

from img2loc.core.types import Neighbour, Photo, RowNumbers
from img2loc.gallery.gallery import Gallery


def random_rows(
    gallery: Gallery, photo: Photo, count: int, excluded: RowNumbers | Sequence[int] = ()
) -> tuple[Neighbour, ...]:
    """So many different rows, each as likely as any other; one file name always draws the same.

    The first rows of a larger `count` are those of a smaller one, and a small gallery gives fewer.
    Their similarity is given as 0, as nobody looks at it.
    """
    name = photo.path.name.encode("utf-8", "surrogateescape")
    random = np.random.default_rng(list(name))
    left_out = {int(row) for row in excluded}
    count = min(count, len(gallery) - len(left_out))
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        row = int(random.integers(len(gallery)))
        if row not in left_out:
            drawn[row] = None
    return tuple(gallery.entry(row, 0.0) for row in drawn)
