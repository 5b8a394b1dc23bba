"""A gallery and a benchmark's photographs → the rows to exclude: same photo, same photographer.

YFCC4k and MP-16 are both drawn from YFCC100M, so a neighbour's coordinates are often those of the
same walk by the same person.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from img2loc.bench.datasets.benchmark import Truth
from img2loc.core.geo import distances_km
from img2loc.core.types import Photo, RowNumbers
from img2loc.data.photo_names import FLICKR, bare_name, ending, flickr_id
from img2loc.data.photo_store import DEEPEST
from img2loc.gallery.gallery import Gallery

if TYPE_CHECKING:
    import pyarrow as pa

SIMILARITY = 0.95
"""A neighbour at least so similar is counted as a near-duplicate when the run is scored."""
COPY = 0.999
"""A photograph at least so similar is the same: half precision and batches change less than that.

By lite0, no two of 227 photographs of landmarks and homes are above 0.948; saved again as JPEGs of
quality 95, all of 80 are above 0.996 to themselves, and 73 % above 0.999.
"""
SAME_POINT_KM = 0.001
_METRE_DEGREES = 1.0e-5  # A metre to the north, and a little more.
# As in `photo_names`, for RE2, which cannot look behind.
_SUFFIX = r"([^/])\.[A-Za-z][A-Za-z0-9]{1,4}$"
_TAIL = r"(?P<tail>[^/_]*)$"


class Leaks:
    """For each photograph, the gallery's rows of itself or of its photographer.

    `asked` pairs each photograph's truth with its file. A row is the photograph itself where it has
    the same Flickr id, name, or bytes, and where the retriever finds it at least as similar as
    `similarity`. Names are compared as `Store` does, without suffix, "/" and "_" alike, with or
    without folders above; where such a name is not a whole id, it counts if only one row has it.
    Ids, bytes and photographers are compared where both sides have them: see `ids_known`,
    `digests_known` and `authors_known`. One pass over the gallery's metadata; memory grows with the
    matches, not with the gallery.
    """

    def __init__(
        self, gallery: Gallery, asked: Iterable[tuple[Truth, Path]], similarity: float = COPY
    ) -> None:
        self.similarity = similarity
        self._truths = {str(path): truth for truth, path in asked}
        self._similar: dict[str, RowNumbers] = {}
        self._by_flickr: dict[str, list[int]] = defaultdict(list)
        self._by_name: dict[str, list[int]] = defaultdict(list)
        self._by_ending: dict[str, list[int]] = defaultdict(list)
        self._by_digest: dict[str, list[int]] = defaultdict(list)
        self._by_author: dict[str, list[int]] = defaultdict(list)
        truths = self._truths.values()
        flickr = {name for truth in truths if (name := _flickr(truth))}
        authors = {truth.author for truth in truths if truth.author}
        gallery_has_digests = gallery.metadata.has("digest")
        self._digests = {
            truth.id: digest
            for path, truth in self._truths.items()
            if gallery_has_digests and (digest := Photo(Path(path)).short_digest())
        }
        gallery_has_flickr = self._scan(gallery, flickr, authors)
        # Plain names are of one kind on both sides where at least one of them is on both.
        self.ids_known = (gallery_has_flickr and bool(flickr)) or any(map(self._named, truths))
        self.digests_known = bool(self._digests)
        self.authors_known = bool(authors) and gallery.metadata.has("author")
        self.photos_in_gallery = sum(any(self._itself(truth)) for truth in truths)
        """How many photographs are in the gallery by id, name or bytes."""

    def __call__(self, photo: Photo) -> RowNumbers:
        """The rows to exclude for this photograph."""
        truth = self._truths.get(str(photo.path))
        return np.empty(0, dtype=np.int64) if truth is None else self._rows(truth)

    def add(self, photo: Photo, rows: RowNumbers) -> None:
        """Exclude these rows too for this photograph."""
        if (truth := self._truths.get(str(photo.path))) is not None:
            self._similar[truth.id] = rows

    def excluded(self, truth: Truth) -> int:
        """How many rows are excluded for it."""
        return len(self._rows(truth))

    def photographer_checked(self, truth: Truth) -> bool:
        """Whether its photographer and those of the gallery are known."""
        return self.authors_known and bool(truth.author)

    def _rows(self, truth: Truth) -> RowNumbers:
        rows = chain(
            self._by_author.get(truth.author, ()),
            *self._itself(truth),
            self._similar.get(truth.id, ()),
        )
        return np.unique(np.fromiter(rows, dtype=np.int64))

    def _itself(self, truth: Truth) -> Iterator[Sequence[int]]:
        """The rows of the photograph itself, by each way to tell."""
        yield self._by_flickr.get(_flickr(truth) or "", ())
        yield self._by_digest.get(self._digests.get(truth.id, ""), ())
        yield self._named(truth)

    def _named(self, truth: Truth) -> list[int]:
        rows = [row for name in _names(truth) for row in self._by_name.get(bare_name(name), ())]
        for form in _endings(truth.photo or truth.id):  # The longest that any row has decides.
            if same := self._by_ending.get(form):
                return rows + same if len(same) == 1 else rows
        return rows

    def _scan(self, gallery: Gallery, flickr: set[str], authors: set[str]) -> bool:
        """Note the rows that match; returns whether the gallery has Flickr ids."""
        import pyarrow.compute as pc

        names = {name for truth in self._truths.values() for name in _names(truth)}
        tails = {bare_name(name).rpartition("_")[2] for name in names}
        forms = {form for name in names for form in _endings(name)}
        digests = set(self._digests.values())
        has_flickr, start = False, 0
        for batch in gallery.metadata.batches():
            numbers = pc.struct_field(pc.extract_regex(batch["id"], FLICKR), "flickr")
            has_flickr = has_flickr or numbers.null_count < len(numbers)
            for column, wanted, rows_of in (
                (numbers, flickr, self._by_flickr),
                (batch["digest"], digests, self._by_digest),
                (batch["author"], authors, self._by_author),
            ):
                for row in _matching(column, wanted):
                    rows_of[column[row].as_py()].append(start + row)
            bare = pc.replace_substring_regex(batch["id"], _SUFFIX, r"\1")
            for row in _matching(pc.struct_field(pc.extract_regex(bare, _TAIL), "tail"), tails):
                self._note_name(batch["id"][row].as_py(), start + row, forms)
            start += batch.num_rows
        return has_flickr

    def _note_name(self, identity: str, row: int, forms: set[str]) -> None:
        if (whole := bare_name(identity)) in forms:
            self._by_name[whole].append(row)
        for form in forms.intersection(_endings(identity)):
            self._by_ending[form].append(row)


def truth_coordinates(gallery: Gallery, truths: Sequence[Truth]) -> int:
    """How many photographs were taken within a metre of a row, so that it holds their answer."""
    points = gallery.metadata.locations()
    points = points[np.argsort(points[:, 0], kind="stable")]
    count = 0
    for truth in truths:
        at = np.array([truth.location.lat, truth.location.lon])
        first, end = np.searchsorted(points[:, 0], at[0] + np.array([-1, 1]) * _METRE_DEGREES)
        count += bool((distances_km(points[first:end], at) <= SAME_POINT_KM).any())
    return count


def _matching(column: "pa.Array", wanted: set[str]) -> list[int]:
    import pyarrow as pa
    import pyarrow.compute as pc

    matches = pc.is_in(column, pa.array(sorted(wanted), pa.string()))
    rows: list[int] = np.flatnonzero(matches.to_numpy(zero_copy_only=False)).tolist()
    return rows


def _flickr(truth: Truth) -> str | None:
    return flickr_id(truth.photo) or flickr_id(truth.id)


def _names(truth: Truth) -> set[str]:
    return {name for name in (truth.id, truth.photo) if name}


def _endings(name: str) -> list[str]:
    """The name with all its folders, then with fewer and fewer, down to the file's alone."""
    return list(
        dict.fromkeys([bare_name(name), *(ending(name, parts) for parts in range(DEEPEST, 0, -1))])
    )
