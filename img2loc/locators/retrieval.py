"""Retrieval alone: the place of the nearest neighbour, or the densest place among the nearest."""

from collections.abc import Iterable, Iterator
from typing import Literal

from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.geo import degrees, densest
from img2loc.core.protocols import Encoder
from img2loc.core.types import Guess, Neighbour, Neighbours, Photo, PhotoLike, Rejected, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.neighbours import Exclusions, Retriever
from img2loc.locators.spread import NEIGHBOURS, neighbours_spread_km, weights


class Retrieval:
    """Answers with a gallery entry's coordinates.

    `decide` is "nearest" (the most similar entry: the kNN baseline of Vo et al., ICCV 2017, with k
    = 1) or "mode" (of the `nearest` most similar entries the one in the densest place, by a
    Gaussian kernel of `bandwidth_km` weighted by similarity). The spread is how far the 16 most
    similar entries (or `nearest`, where that is more) scatter around the answer.
    """

    def __init__(
        self,
        encoder: Encoder,
        gallery: Gallery,
        decide: Literal["nearest", "mode"] = "nearest",
        nearest: int = 16,
        bandwidth_km: float = 25.0,
        exclusions: Exclusions | None = None,
    ) -> None:
        if nearest < 1 or not bandwidth_km > 0:
            raise ConfigError(
                f"nearest is {nearest} and bandwidth_km {bandwidth_km}; both must be above 0."
            )
        if not len(gallery):
            raise GalleryError(
                f"The gallery {gallery.folder} is empty. Build it from a source with usable"
                " photographs."
            )
        self._retriever = Retriever(encoder, gallery, exclusions)
        self._decide = decide
        self._nearest = nearest
        self._bandwidth_km = bandwidth_km

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        k = max(self._nearest, NEIGHBOURS)
        for photo, hits in self._retriever.neighbours(as_photos(photos), k):
            if isinstance(hits, Rejected):
                yield Guess(photo, "unreadable", detail=hits.reason)
            elif not hits.nearest:
                detail = "every row of the gallery is excluded for this photo"
                yield Guess(photo, "failed", detail=detail)
            else:
                yield self._guess(photo, hits.nearest)

    def _guess(self, photo: Photo, hits: tuple[Neighbour, ...]) -> Guess:
        entries = hits[: self._nearest]
        chosen, detail = 0, f"the nearest of {len(entries)} neighbours"
        if self._decide == "mode":
            points = degrees([entry.location for entry in entries])
            chosen = densest(points, weights(entries), self._bandwidth_km)
            detail = f"the densest place among {len(entries)} neighbours"
        answer = entries[chosen].location
        spread = neighbours_spread_km(answer, hits)
        return Guess(photo, "located", answer, spread, Neighbours(entries), detail=detail)
