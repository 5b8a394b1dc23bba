"""Written angles: normalized text → decimal degrees, each with its place in the text and its axis.

Reads decimal degrees and degrees-minutes-seconds, with N/S/E/W or their words before or after, with
labels before or after in several languages, with decimal points, and with decimal commas where they
cannot be anything else.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

Axis = Literal["lat", "lon"]

_LAT_WORDS = (
    r"latitud(?:es?|ine)?|lat|breite(?:ngrad)?|широта|enlem|خط العرض"
    r"|纬度|緯度|위°|위도|纬°|緯°|φ"
)
_LON_WORDS = (
    r"longitud(?:es?|ine)?|long|lon|lng|l[äa]nge(?:ngrad)?|долгота|boylam|خط الطول"
    r"|经度|経度|經度|经°|経°|經°|경°|경도|λ"
)
_LABEL = re.compile(
    rf"(?<![a-z_])(?:(?P<lat>{_LAT_WORDS})|(?P<lon>{_LON_WORDS}))(?:_deg(?:rees)?)?(?![a-z_])",
    re.IGNORECASE,
)
_LABEL_GAP = re.compile(
    r"\.?(?:(?![.!?](?:\s|$)|\b(?:unknown|null|none|n/a)\b)[^\d]){0,40}", re.IGNORECASE
)
_NO_GAP = re.compile(r"""[\s:=.("'°~≈-]*""")  # "long" is a label only right beside its number
_LABEL_AFTER = re.compile(
    r"[ °]*(?:of |de )?\(?(?:(lat)(?:itude?)?|(?:long?|lng)(?:itude?)?)\b\)?"
    r"(?: (north|south|east|west|norte|sur|sul|este|oeste)\b)?(?=\s*(?:[,;.)\n]|and\b|y\b|et\b|$))",
    re.IGNORECASE,
)
_SIDE_BEFORE = re.compile(r"\b(north|south|east|west)(?:ern)?\s+$", re.IGNORECASE)
_HEMISPHERE_ASIDE = re.compile(r"\(\s*(north|south|east|west|[NSEW])\s*\)", re.IGNORECASE)

_ANGLE = re.compile(
    r"""
    # no piece of a longer number, date, price or word
    (?<![\d.$€£\#+-])(?<!\d:)(?<![A-Za-zÀ-ɏ])(?<!\bf/)
    (?:(?P<before>
        (?:north|south|east|west)(?![a-z])|[NSEW](?![A-Za-z])
        |[北南东東西][纬緯经経經]|[북남]위|[동서]경
    )\s*:?\s*(?=[+\d.-]))?
    (?P<sign>[+-])?
    (?:
        (?P<d1>\d{1,3})\s*(?:°|d(?:eg(?:rees?)?)?(?![a-z]))\s*,?
            \s*(?P<m1>\d{1,2}(?:[.,]\d+)?)\s*(?:'|m(?:in(?:utes?)?)?(?![a-z]))
            (?:\s*,?\s*(?P<s1>\d{1,2}(?:[.,]\d+)?)\s*(?:"|s(?:ec(?:onds?)?)?(?![a-z])))?
      | (?P<d2>\d{1,3})[ :](?P<m2>\d{1,2}(?:\.\d+)?)(?:[ :](?P<s2>\d{1,2}(?:\.\d+)?))?
            (?=\s*(?:[NSEW]\b|north|south|east|west))
      | (?P<d3>\d{1,3}(?:\.\d+|,\d+)?|\.\d+)
            (?:\s*(?P<unit>(?:°|deg(?:rees?)?\b)(?!\s*\d{1,2}(?:\.\d+)?\s*')))?
    )
    (?(before)|(?:\s*\(?(?:in\s+the\s+)?(?P<after>
        (?:north|south|east|west)(?:ern)?\b(?:\s+hemisphere)?
        |(?:nord|norte|sud|sul|sur|süd|est|este|ost|ouest|oeste)\b
        |(?:nörd|süd|öst|west)lich\w*|[NSEWO](?![A-Za-z]))\)?)?)
    (?![\d%]|[A-Za-zÀ-ɏ]|\.\d|:\d|-\d)  # nor the beginning of one
    """,
    re.VERBOSE | re.IGNORECASE,
)
_HEMISPHERES = {
    **dict.fromkeys(("北", "북", "nor"), "N"),
    **dict.fromkeys(("南", "남", "sou", "sud", "süd", "sur"), "S"),
    **dict.fromkeys(("东", "東", "동", "eas", "est", "ost"), "E"),
    **dict.fromkeys(("西", "서", "wes", "oue", "oes"), "W"),
}
"""By the first letter or the first three of a word."""


@dataclass(frozen=True, slots=True)
class Angle:
    """text[start:end] as an angle in degrees; NaN where east and west cannot be told apart."""

    start: int
    end: int
    value: float
    axis: Axis | None
    decimals: int
    marked: bool
    """Whether it has a degree sign or word."""
    exact: bool
    """Whether it has minutes, or two decimals or more."""
    comma: bool
    heading: Axis | None
    """The first axis of a heading that names both ("Latitude, longitude: …")."""
    labeled: bool


def angle(text: str) -> float | None:
    """The one angle that a normalized text holds ("48.85° N", "2,29"), or None."""
    values = [angle.value for angle in angles(text)]
    return values[0] if len(values) == 1 and math.isfinite(values[0]) else None


def angles(text: str) -> Iterator[Angle]:
    """Every angle in a normalized text, from left to right."""
    end = 0
    for match in _ANGLE.finditer(text):
        angle = _read(match, text[max(end, match.start() - 500) : match.start()])
        end = match.end()
        if angle is None:
            continue
        # "48.86 latitude": the label belongs to the number before it, not to the next one.
        if angle.axis is None and (after := _LABEL_AFTER.match(text, end)):
            end = after.end()
            value = -angle.value if _hemisphere(after[2]) in ("S", "W") else angle.value
            axis: Axis = "lat" if after[1] else "lon"
            angle = replace(angle, end=end, value=value, axis=axis, labeled=True)
        yield angle


def _read(match: re.Match[str], gap: str) -> Angle | None:
    """One angle; `gap` is the text between it and the angle before, where its label stands."""
    part = match.groupdict()
    degrees = (part["d1"] or part["d2"] or part["d3"]).replace(",", ".")
    minutes = float((part["m1"] or part["m2"] or "0").replace(",", "."))
    seconds = float((part["s1"] or part["s2"] or "0").replace(",", "."))
    if minutes >= 60 or seconds >= 60:
        return None
    label, aside, heading = _label(gap)
    hemisphere = _hemisphere(part["before"] or part["after"] or aside)
    if hemisphere in ("N", "E") and part["sign"] == "-":
        return None  # It contradicts itself.
    value = float(degrees) + minutes / 60 + seconds / 3600
    if hemisphere == "O":
        value = math.nan  # Ost or Ouest
    elif part["sign"] == "-" or hemisphere in ("S", "W"):
        value = -value
    side: Axis | None = ("lat" if hemisphere in "NS" else "lon") if hemisphere else None
    sexagesimal = not part["d3"]
    decimals = len(degrees.partition(".")[2])
    return Angle(
        start=match.start(),
        end=match.end(),
        value=value,
        axis=side or label,
        decimals=decimals,
        marked=sexagesimal or bool(part["unit"]),
        exact=sexagesimal or decimals >= 2,
        comma="," in (part["d3"] or ""),
        heading=heading,
        labeled=label is not None,
    )


def _hemisphere(written: str | None) -> str:
    """N, S, E or W for any of its names; O where that is ambiguous; "" for none."""
    text = (written or "").lower()
    return _HEMISPHERES.get(text[:1]) or _HEMISPHERES.get(text[:3]) or text[:1].upper()


def _label(gap: str) -> tuple[Axis | None, str, Axis | None]:
    """What the words before an angle name: its axis, a hemisphere, the first axis of a heading."""
    labels = [
        match
        for match in _LABEL.finditer(gap)
        if match.group().lower() != "long" or _NO_GAP.fullmatch(gap[match.end() :])
    ]
    if not labels:
        return None, "", None
    axes: list[Axis] = ["lat" if match["lat"] else "lon" for match in labels]
    if len(set(axes)) == 2:  # It speaks for the pair that follows, and for neither angle by itself.
        return None, "", axes[0]
    between = gap[labels[-1].end() :]
    if not _LABEL_GAP.fullmatch(between):
        return None, "", None
    aside = _HEMISPHERE_ASIDE.search(between) or _SIDE_BEFORE.search(gap[: labels[-1].start()])
    return axes[0], aside[1] if aside else "", None
