"""A gallery and a benchmark's photographs → the rows to exclude: same photo, same photographer.

YFCC4k and MP-16 are both drawn from YFCC100M, so a neighbour's coordinates are often those of the
same walk by the same person.
"""

from collections import defaultdict
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np

from img2loc.bench.datasets.benchmark import Truth
from img2loc.core.types import Photo, RowNumbers
from img2loc.data.photo_names import FLICKR, flickr_id, plain_name
from img2loc.gallery.gallery import Gallery

SIMILARITY = 0.95
"""A neighbour at least so similar is counted as a near-duplicate when the run is scored."""


class Leaks:
    """For each photograph, the gallery's rows of its id, by any of its names, or its photographer.

    `asked` pairs each photograph's truth with its file. Ids and photographers are compared where
    both sides have them: see `ids_known` and `authors_known`. One pass over the gallery's metadata;
    memory grows with the matches, not with the gallery.
    """

    def __init__(self, gallery: Gallery, asked: Iterable[tuple[Truth, Path]]) -> None:
        self._truths = {str(path): truth for truth, path in asked}
        flickr = {name for truth in self._truths.values() if (name := _flickr(truth))}
        names = {name for truth in self._truths.values() for name in _names(truth)}
        authors = {truth.author for truth in self._truths.values() if truth.author}
        self._by_flickr: dict[str, list[int]] = defaultdict(list)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_author: dict[str, list[int]] = defaultdict(list)
        gallery_has_ids, gallery_has_authors = self._scan(gallery, flickr, names, authors)
        # Plain names are of one kind on both sides where at least one of them is on both.
        self.ids_known = (gallery_has_ids and bool(flickr)) or bool(self._by_name)
        self.authors_known = gallery_has_authors and bool(authors)

    def __call__(self, photo: Photo) -> RowNumbers:
        """The rows to exclude for this photograph."""
        truth = self._truths.get(str(photo.path))
        return np.empty(0, dtype=np.int64) if truth is None else self._rows(truth)

    def excluded(self, truth: Truth) -> int:
        """How many rows are excluded for it."""
        return len(self._rows(truth))

    def photographer_checked(self, truth: Truth) -> bool:
        """Whether its photographer and those of the gallery are known."""
        return self.authors_known and bool(truth.author)

    def _rows(self, truth: Truth) -> RowNumbers:
        same = (self._by_name.get(name, []) for name in _names(truth))
        rows = chain(
            self._by_flickr.get(_flickr(truth) or "", []),
            self._by_author.get(truth.author, []),
            *same,
        )
        return np.unique(np.fromiter(rows, dtype=np.int64))

    def _scan(
        self, gallery: Gallery, flickr: set[str], names: set[str], authors: set[str]
    ) -> tuple[bool, bool]:
        import pyarrow as pa
        import pyarrow.compute as pc

        has_ids = has_authors = False
        start = 0
        for batch in gallery.metadata.batches():
            numbers = pc.struct_field(pc.extract_regex(batch["id"], FLICKR), "flickr")
            has_ids = has_ids or numbers.null_count < len(numbers)
            has_authors = has_authors or pc.any(pc.not_equal(batch["author"], "")).as_py() is True
            for column, wanted, rows_of in (
                (numbers, flickr, self._by_flickr),
                (pc.replace_substring(batch["id"], "/", "_"), names, self._by_name),
                (batch["author"], authors, self._by_author),
            ):
                matches = pc.is_in(column, pa.array(sorted(wanted), pa.string()))
                rows = start + np.flatnonzero(matches.to_numpy(zero_copy_only=False))
                for value, row in zip(
                    column.filter(matches).to_pylist(), rows.tolist(), strict=True
                ):
                    rows_of[value].append(row)
            start += batch.num_rows
        return has_ids, has_authors


def _flickr(truth: Truth) -> str | None:
    return flickr_id(truth.photo) or flickr_id(truth.id)


def _names(truth: Truth) -> set[str]:
    return {plain_name(name) for name in (truth.id, truth.photo) if name}
