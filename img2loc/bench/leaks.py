"""A gallery and a benchmark's photographs → the rows that a photograph must not see: itself, and its photographer's others.

YFCC4k and MP-16 are both drawn from YFCC100M, so a neighbour's coordinates are often those of the same walk by the same person.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

from img2loc.bench.truth import Truth
from img2loc.gallery import Gallery
from img2loc.identity import FLICKR, flickr_id, plain_name
from img2loc.rows import ROWS
from img2loc.types import Photo

SIMILARITY = 0.95
"""A neighbour at least so similar is counted as a near-duplicate when the run is scored."""


class Leaks:
    """For each photograph, the gallery's rows of the same id by any of its names, and of the same photographer.

    `asked` pairs each photograph's truth with its file. Ids and photographers are compared where both sides have them: see
    `ids_known` and `authors_known`. One pass over the gallery's rows; memory grows with what is found, not with the gallery.
    """

    def __init__(self, gallery: Gallery, asked: Iterable[tuple[Truth, Path]]) -> None:
        self._truths = {str(path): truth for truth, path in asked}
        flickr = {name for truth in self._truths.values() if (name := _flickr(truth))}
        names = {name for truth in self._truths.values() for name in _names(truth)}
        authors = {truth.author for truth in self._truths.values() if truth.author}
        self._by_flickr: dict[str, set[str]] = defaultdict(set)
        self._by_name: dict[str, set[str]] = defaultdict(set)
        self._by_author: dict[str, set[str]] = defaultdict(set)
        gallery_has_ids, gallery_has_authors = self._scan(gallery, flickr, names, authors)
        # Plain names are of one kind on both sides where at least one of them is on both.
        self.ids_known = (gallery_has_ids and bool(flickr)) or bool(self._by_name)
        self.authors_known = gallery_has_authors and bool(authors)

    def __call__(self, photo: Photo) -> tuple[Collection[str], Collection[str]]:
        """The ids of the rows, and the authors, that this photograph must not see."""
        truth = self._truths.get(str(photo.path))
        if truth is None:
            return (), ()
        return self._same(truth), (truth.author,) if truth.author in self._by_author else ()

    def excluded(self, truth: Truth) -> int:
        """How many rows it must not see: those of its own id, and of its photographer where that could be checked."""
        return len(self._same(truth) | self._by_author.get(truth.author, set()))

    def photographer_checked(self, truth: Truth) -> bool:
        """Whether its photographer is known, and the gallery's are."""
        return self.authors_known and bool(truth.author)

    def _same(self, truth: Truth) -> set[str]:
        found = set(self._by_flickr.get(_flickr(truth) or "", ()))
        return found.union(*(self._by_name.get(name, ()) for name in _names(truth)))

    def _scan(self, gallery: Gallery, flickr: set[str], names: set[str], authors: set[str]) -> tuple[bool, bool]:
        import pyarrow as pa
        import pyarrow.compute as pc

        has_ids = has_authors = False
        wanted = {what: pa.array(sorted(values), pa.string()) for what, values in (("f", flickr), ("n", names), ("a", authors))}
        with pa.memory_map(str(gallery.folder / ROWS)) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                ids, by = batch["id"], batch["author"]
                numbers = pc.struct_field(pc.extract_regex(ids, FLICKR), "flickr")
                has_ids = has_ids or numbers.null_count < len(numbers)
                has_authors = has_authors or pc.any(pc.not_equal(by, "")).as_py() is True
                plain = pc.replace_substring(ids, "/", "_")
                for column, what, into in (
                    (numbers, "f", self._by_flickr),
                    (plain, "n", self._by_name),
                    (by, "a", self._by_author),
                ):
                    rows = pc.is_in(column, wanted[what])
                    for value, row in zip(column.filter(rows).to_pylist(), ids.filter(rows).to_pylist(), strict=True):
                        into[value].add(row)
        return has_ids, has_authors


def _flickr(truth: Truth) -> str | None:
    return flickr_id(truth.photo) or flickr_id(truth.id)


def _names(truth: Truth) -> set[str]:
    return {plain_name(name) for name in (truth.id, truth.photo) if name}
