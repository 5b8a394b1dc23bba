"""What a notation module yields: a span of the reply, and the point on Earth that it names."""

from dataclasses import dataclass

from img2loc.core.types import Location


@dataclass(frozen=True, slots=True)
class Candidate:
    """text[start:end] in one notation; `location` is None where it names no point on Earth.

    `merit` ranks the notation: a labeled pair is surer than two bare numbers. `is_object` marks a
    JSON object, which is an answer where it closes a reply.
    """

    start: int
    end: int
    location: Location | None
    merit: int
    is_object: bool = False


def point(lat: float | None, lon: float | None) -> Location | None:
    """The Location, or None for what is missing, out of range, or the zeros of a template."""
    if lat is None or lon is None or lat == lon == 0.0:
        return None
    try:
        return Location(lat, lon)
    except ValueError:
        return None
