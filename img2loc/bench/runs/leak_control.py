"""A run's gallery and photographs → what is excluded, what `run.json` and stderr say of leaks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.datasets.leakage import COPY, SIMILARITY, Leaks, truth_coordinates
from img2loc.config.galleries import GalleryFacts
from img2loc.gallery.gallery import Gallery


class LeakControl:
    """Looks for leaks in each gallery once: a pass over millions of rows takes seconds.

    `asked` pairs each photograph's truth with its file. With `exclude`, rows of the same photograph
    and of its photographer are not searched. Rows at least as similar as `near_duplicate` are the
    same photograph.
    """

    def __init__(
        self,
        asked: Sequence[tuple[Truth, Path]],
        exclude: bool = True,
        near_duplicate: float = COPY,
    ) -> None:
        self.exclude = exclude
        self.near_duplicate = near_duplicate
        self._asked = asked
        self._leaks: dict[Path, Leaks] = {}
        self._truth_coordinates: dict[Path, int] = {}

    def leaks(self, gallery: GalleryFacts | None) -> Leaks | None:
        """The gallery's rows to exclude for each photograph; None without a gallery of photos."""
        if gallery is None or gallery.of != "photos":
            return None
        if gallery.folder not in self._leaks:
            opened = Gallery.open(gallery.folder)
            self._leaks[gallery.folder] = Leaks(opened, self._asked, self.near_duplicate)
        return self._leaks[gallery.folder]

    def truth_coordinates(self, gallery: GalleryFacts | None) -> int | None:
        """How many photographs' coordinates are rows of a gallery that is not of photos."""
        if gallery is None or gallery.of == "photos":
            return None
        if gallery.folder not in self._truth_coordinates:
            truths = [truth for truth, _ in self._asked]
            found = truth_coordinates(Gallery.open(gallery.folder), truths)
            self._truth_coordinates[gallery.folder] = found
        return self._truth_coordinates[gallery.folder]

    def about(self, gallery: GalleryFacts | None) -> dict[str, Any]:
        """What run.json says."""
        leaks = self.leaks(gallery)
        excludes = leaks is not None and self.exclude
        return {
            "exclude": self.exclude,
            "similarity": SIMILARITY,
            "excluded_similarity": self.near_duplicate if excludes else None,
            "ids_known": leaks is not None and leaks.ids_known,
            "digests_known": leaks is not None and leaks.digests_known,
            "authors_known": leaks is not None and leaks.authors_known,
            "truth_coordinates": self.truth_coordinates(gallery),
        }

    def warnings(self, gallery: GalleryFacts | None) -> list[str]:
        """What to know of leaks before a run."""
        if gallery is None:
            return []
        total = f"{len(self._asked):,} photos"
        if inside := self.truth_coordinates(gallery):
            return [
                f"The gallery {gallery.name} leaks: it has a row within 1 m of where {inside:,} of"
                f" the {total} were taken. Scores will be too good. Build another one."
            ]
        leaks = self.leaks(gallery)
        if leaks is None or not self.exclude:
            return []
        warnings = []
        if inside := leaks.photos_in_gallery:
            warnings.append(
                f"{inside:,} of the {total} are in the gallery {gallery.name} themselves. Each is"
                " located without its own rows."
            )
        if not (leaks.ids_known or leaks.authors_known):
            warnings.append(
                f"Leaks from the gallery {gallery.name} cannot be ruled out: neither ids nor"
                " photographers can be compared with those of the photos. Only rows of similarity"
                f" {leaks.similarity:g} or more are excluded. Give both a column author, or lower"
                " --exclude-near-duplicates."
            )
        return warnings
