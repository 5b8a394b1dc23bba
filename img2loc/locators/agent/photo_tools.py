"""Tools that look at the photograph: a part of it, and what looks like it in the gallery."""

import io
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from img2loc.core.geo import distance_km
from img2loc.core.places import place_at
from img2loc.core.types import Location, Neighbour, Photo, Rejected
from img2loc.gallery.neighbours import Retriever
from img2loc.locators.agent.tools import Arguments, ToolResult

_QUALITY = 90
_SEARCHED = 200
"""Neighbours among which a country or a distance is looked for."""
_MOST = 20


def _ordered(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if not (right - left >= 0.01 and bottom - top >= 0.01):
        raise ValueError("a box is [left, top, right, bottom], at least 0.01 wide and high")
    return box


_Share = Annotated[float, Field(ge=0, le=1)]
Box = Annotated[
    tuple[_Share, _Share, _Share, _Share],
    AfterValidator(_ordered),
    Field(description="[left, top, right, bottom], as shares of the photograph from 0 to 1"),
]


def cropped(photo: Photo, box: tuple[float, float, float, float], side: int) -> Photo:
    """A part of a photograph from its own pixels, the longer side enlarged to `side` pixels.

    It keeps the photograph's name, by which rows of a gallery are kept from it.
    """
    image = photo.image()
    left, top, right, bottom = box
    width, height = image.size
    part = image.crop(
        (
            int(left * width),
            int(top * height),
            max(int(right * width), int(left * width) + 1),
            max(int(bottom * height), int(top * height) + 1),
        )
    )
    scale = side / max(part.size)
    part = part.resize((max(1, round(part.width * scale)), max(1, round(part.height * scale))))
    stream = io.BytesIO()
    part.save(stream, "JPEG", quality=_QUALITY)
    return Photo(photo.path, stream.getvalue())


class ZoomArguments(Arguments):
    """A box."""

    box: Box


class Zoom:
    """A part of the photograph, enlarged."""

    name, searches = "zoom", False
    description = "Look closer at a part of the photograph, such as a sign, a plate or a façade."
    arguments = ZoomArguments

    def __init__(self, side: int = 1024) -> None:
        self._side = side

    def run(self, photo: Photo, arguments: ZoomArguments) -> ToolResult:
        """The part, as a picture of `side` pixels."""
        return ToolResult("the part is shown", cropped(photo, arguments.box, self._side))


class SimilarPhotosArguments(Arguments):
    """What to search with, and what to leave out."""

    box: Box | None = None
    side: Literal["nearest", "farthest"] = "nearest"
    k: Annotated[int, Field(ge=1, le=_MOST)] = 8
    country: Annotated[str, Field(max_length=2, description="ISO code, such as FR")] | None = None
    within_km: Annotated[float, Field(gt=0)] | None = None
    lat: Annotated[float, Field(ge=-90, le=90)] | None = None
    lon: Annotated[float, Field(ge=-180, le=180)] | None = None


class SimilarPhotos:
    """The gallery's most or least similar entries to the photograph or to a part of it."""

    name, searches = "similar_photos", True
    description = (
        "Search a gallery of photographs whose place is known, by the whole photograph or by a"
        " part of it; only in a country, or within_km of (lat, lon), if wanted."
    )
    arguments = SimilarPhotosArguments

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever

    def run(self, photo: Photo, arguments: SimilarPhotosArguments) -> ToolResult:
        """Their similarity, coordinates and towns, best first."""
        asked = cropped(photo, arguments.box, 512) if arguments.box else photo
        narrowed = arguments.country is not None or arguments.within_km is not None
        count = _SEARCHED if narrowed else arguments.k
        counts = (count, 0) if arguments.side == "nearest" else (0, count)
        ((_, found),) = self._retriever.neighbours([asked], *counts)
        if isinstance(found, Rejected):
            return ToolResult(f"nothing: {found.reason}")
        entries = found.nearest or found.farthest
        kept = [entry for entry in entries if self._fits(entry, arguments)][: arguments.k]
        if not kept:
            return ToolResult(f"none of the {len(entries)} {arguments.side} fits")
        lines = (
            f"{entry.similarity:.3f} ({entry.location.lat:.4f}, {entry.location.lon:.4f})"
            f" {_town(entry.location)}"
            for entry in kept
        )
        return ToolResult("\n".join(lines), points=tuple(entry.location for entry in kept))

    def _fits(self, entry: Neighbour, wanted: SimilarPhotosArguments) -> bool:
        if wanted.country is not None:
            place = place_at(entry.location)
            if place is None or place.country_code != wanted.country.upper():
                return False
        if wanted.within_km is None or wanted.lat is None or wanted.lon is None:
            return True
        return distance_km(entry.location, Location(wanted.lat, wanted.lon)) <= wanted.within_km


def _town(at: Location) -> str:
    place = place_at(at)
    return f"{place.name}, {place.region}, {place.country}" if place else "far from any town"
