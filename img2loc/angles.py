"""The grammar of written coordinates: text → angles → pairs of latitude and longitude, each with where it stands.

It reads decimal degrees and degrees-minutes-seconds, with N/S/E/W or their words before or after, with or without the
labels lat/lon, with decimal points, and with decimal commas where they cannot be anything else.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from img2loc.types import Location

Axis = Literal["lat", "lon"]

_ANGLE = re.compile(
    r"""
    (?P<label>\b(?:latitude|lat|longitude|long|lon|lng)(?![a-z]) (?:[^\d+-]|[+-](?!\d)){0,30}?)?
    (?<![\d.$€£\#+-])(?<!\d:)(?<![^\W\d_])(?<![^\W\d_]/)  # no piece of a longer number, date, price, path or word
    (?:(?P<before>north|south|east|west|[NSEW])\s*(?=[+\d-]))?
    (?P<sign>[+-])?
    (?:
        (?P<d1>\d{1,3})\s*(?:°|d(?:eg(?:rees?)?)?\b|º)\s*,?\s*(?P<m1>\d{1,2}(?:[.,]\d+)?)\s*(?:'|m(?:in(?:utes?)?)?\b)
            (?:\s*,?\s*(?P<s1>\d{1,2}(?:[.,]\d+)?)\s*(?:"|s(?:ec(?:onds?)?)?\b))?
      | (?P<d2>\d{1,3})[ :](?P<m2>\d{1,2}(?:\.\d+)?)(?:[ :](?P<s2>\d{1,2}(?:\.\d+)?))?(?=\s*(?:[NSEW]\b|north|south|east|west))
      | (?P<d3>\d{1,3}(?:\.\d+|,\d+)?)\s*(?P<unit>°|deg(?:rees?)?\b)?
    )
    (?(before)|(?:\s*(?P<after>(?:north|south|east|west|[NSEW])\b(?!\s*-?\d+\s*['"]))(?!'))?)
    (?![\d%]|[^\W\d_]|\.\d|:\d|-\d)                       # nor the beginning of one
    (?!\s*(?:to|through|\.\.+)\s*[+-]?\d)                 # nor one end of a range
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BARE_GAP = re.compile(r"""['"]?\s*[,;/|]\s*['"]?|\s+""")


@dataclass(frozen=True, slots=True)
class Angle:
    """One written angle in degrees, where it stands, and which axis it says it is on."""

    start: int
    end: int
    value: float
    axis: Axis | None
    decimals: int
    marked: bool
    comma: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A latitude and a longitude that stand together; `named` when the text says which is which."""

    start: int
    end: int
    location: Location
    named: bool


def pairs(text: str) -> Iterator[Pair]:
    """Every pair of angles in a normalised text that is a point on Earth, from left to right."""
    angles = list(_angles(text))
    position = 0
    while position < len(angles) - 1:
        pair, used = _pair_from(text, angles, position)
        if pair is not None:
            yield pair
        position += used


def angle(text: str) -> float | None:
    """The one angle that a normalised text holds ("48.85° N", "2,29"), or None."""
    found = list(_angles(text))
    return found[0].value if len(found) == 1 else None


def _angles(text: str) -> Iterator[Angle]:
    for match in _ANGLE.finditer(text):
        if (angle := _read(match)) is not None:
            yield angle


def _read(match: re.Match[str]) -> Angle | None:
    part = match.groupdict()
    degrees = part["d1"] or part["d2"] or part["d3"]
    minutes = float((part["m1"] or part["m2"] or "0").replace(",", "."))
    seconds = float((part["s1"] or part["s2"] or "0").replace(",", "."))
    if minutes >= 60 or seconds >= 60:
        return None
    value = float(degrees.replace(",", ".")) + minutes / 60 + seconds / 3600
    hemisphere = (part["before"] or part["after"] or "")[:1].upper()
    if hemisphere in ("N", "E") and part["sign"] == "-":
        return None  # It contradicts itself.
    if part["sign"] == "-" or hemisphere in ("S", "W"):
        value = -value
    said: set[Axis] = set()
    if hemisphere:
        said.add("lat" if hemisphere in "NS" else "lon")
    elif part["label"]:
        said.add("lat" if part["label"].lower().startswith("lat") else "lon")
    fraction = re.split(r"[.,]", degrees)[1:]
    return Angle(
        start=match.start(),
        end=match.end(),
        value=value,
        axis=said.pop() if said else None,
        decimals=len(fraction[0]) if fraction else 0,
        marked=bool(part["d1"] or part["d2"] or part["unit"]),
        comma="," in degrees,
    )


def _pair_from(text: str, angles: list[Angle], position: int) -> tuple[Pair | None, int]:
    """The pair that begins at an angle, and how many angles were used up."""
    first = angles[position]
    for step, second in enumerate(angles[position + 1 : position + 3], 1):
        # One unnamed number may stand between named ones: an altitude, an error, the number of a list.
        if first.axis and second.axis and first.axis != second.axis and second.start - first.end <= 60:
            return _pair(first, second, named=True), step + 1
        if second.axis:
            break
    for second in angles[position + 1 : position + 2]:
        if second.axis is None and _bare(text, first, second):
            return _pair(first, second, named=first.axis is not None), 2
    return None, 1


def _bare(text: str, first: Angle, second: Angle) -> bool:
    """Whether two angles of which the second is not named are a pair all the same, and no mere list of numbers."""
    gap = text[first.end : second.start]
    if not _BARE_GAP.fullmatch(gap):
        return False
    before, after = text[: first.start], text[second.end :]
    enclosed = before.rstrip(" '\"")[-1:] in ("(", "[") and after.lstrip(" '\"")[:1] in (")", "]")
    alone = not before.rpartition("\n")[2].strip(" ([-+:>'\"") and not after.partition("\n")[0].strip(" )].;,'\"")
    fewest, most = sorted((first.decimals, second.decimals))
    if first.comma or second.comma:
        # "1,234, 5,678" may be thousands; "48,8584, 2,2945" cannot.
        return first.comma and second.comma and fewest >= 2 and (most > 3 or fewest != 3 or ";" in gap)
    if first.axis or (first.marked and second.marked):
        return "\n" not in gap
    if "/" in gap:
        return fewest >= 3
    if gap.isspace():
        return fewest >= 2 and (alone or enclosed)
    if fewest >= 2:
        return True
    return enclosed or (alone and (most >= 1 or not (before + after).strip(" ()[].")))


def _pair(first: Angle, second: Angle, named: bool) -> Pair | None:
    lat, lon = (second, first) if first.axis == "lon" else (first, second)
    try:
        location = Location(lat.value, lon.value)
    except ValueError:
        return None
    if (abs(location.lat), abs(location.lon)) in ((0.0, 0.0), (90.0, 180.0)):
        return None  # A template's zeros, or the limits of the scale, echoed back.
    return Pair(first.start, second.end, location, named)
