"""The ground truth of a benchmark: photographs whose place is known."""

from dataclasses import dataclass

from img2loc.types import Location, Photo


@dataclass(frozen=True, slots=True)
class Truth:
    """A photograph of a benchmark and where it was taken; `author` is empty where it is not known."""

    id: str
    location: Location
    author: str
    photo: Photo
