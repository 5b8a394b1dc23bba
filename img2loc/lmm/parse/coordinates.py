"""The grammar of written coordinates: normalised text → angles → pairs of latitude and longitude, each with where it stands.

It reads decimal degrees and degrees-minutes-seconds, with N/S/E/W or their words before or after,
with labels before or after in several languages, with decimal points, and with decimal commas where
they cannot be anything else.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from img2loc.core.types import Location

Axis = Literal["lat", "lon"]

_LAT_WORDS = (
    r"latitud(?:es?|ine)?|lat|breite(?:ngrad)?|широта|enlem|خط العرض|纬度|緯度|위°|위도|纬°|緯°|φ"
)
_LON_WORDS = (
    r"longitud(?:es?|ine)?|long|lon|lng|l[äa]nge(?:ngrad)?|долгота|boylam|خط"
    r" الطول|经度|経度|經度|经°|経°|經°|경°|경도|λ"
)
_LABEL = re.compile(
    rf"(?<![a-z_])(?:(?P<lat>{_LAT_WORDS})|(?P<lon>{_LON_WORDS}))(?:_deg(?:rees)?)?(?![a-z_])",
    re.IGNORECASE,
)
_REACH = re.compile(
    r"\.?(?:(?![.!?](?:\s|$)|\b(?:unknown|null|none|n/a)\b)[^\d]){0,40}", re.IGNORECASE
)
_BESIDE = re.compile(r"""[\s:=.("'°~≈-]*""")  # "long" is a label only right beside its number
_LATE = re.compile(
    r"[ °]*(?:of |de )?\(?(?:(lat)(?:itude?)?|(?:long?|lng)(?:itude?)?)\b\)?"
    r"(?: (north|south|east|west|norte|sur|sul|este|oeste)\b)?(?=\s*(?:[,;.)\n]|and\b|y\b|et\b|$))",
    re.IGNORECASE,
)
_SIDE_BEFORE = re.compile(r"\b(north|south|east|west)(?:ern)?\s+$", re.IGNORECASE)
_HEMISPHERE_ASIDE = re.compile(r"\(\s*(north|south|east|west|[NSEW])\s*\)", re.IGNORECASE)

_ANGLE = re.compile(
    r"""
    (?<![\d.$€£\#+-])(?<!\d:)(?<![A-Za-zÀ-ɏ])(?<!\bf/)    # no piece of a longer number, date, price or word
    (?:(?P<before>(?:north|south|east|west)(?![a-z])|[NSEW](?![A-Za-z])|[北南东東西][纬緯经経經]|[북남]위|[동서]경)\s*:?\s*(?=[+\d.-]))?
    (?P<sign>[+-])?
    (?:
        (?P<d1>\d{1,3})\s*(?:°|d(?:eg(?:rees?)?)?(?![a-z]))\s*,?\s*(?P<m1>\d{1,2}(?:[.,]\d+)?)\s*(?:'|m(?:in(?:utes?)?)?(?![a-z]))
            (?:\s*,?\s*(?P<s1>\d{1,2}(?:[.,]\d+)?)\s*(?:"|s(?:ec(?:onds?)?)?(?![a-z])))?
      | (?P<d2>\d{1,3})[ :](?P<m2>\d{1,2}(?:\.\d+)?)(?:[ :](?P<s2>\d{1,2}(?:\.\d+)?))?(?=\s*(?:[NSEW]\b|north|south|east|west))
      | (?P<d3>\d{1,3}(?:\.\d+|,\d+)?|\.\d+)(?:\s*(?P<unit>(?:°|deg(?:rees?)?\b)(?!\s*\d{1,2}(?:\.\d+)?\s*')))?
    )
    (?(before)|(?:\s*\(?(?:in\s+the\s+)?(?P<after>
        (?:north|south|east|west)(?:ern)?\b(?:\s+hemisphere)?|(?:nord|norte|sud|sul|sur|süd|est|este|ost|ouest|oeste)\b
        |(?:nörd|süd|öst|west)lich\w*|[NSEWO](?![A-Za-z]))\)?)?)
    (?![\d%]|[A-Za-zÀ-ɏ]|\.\d|:\d|-\d)                    # nor the beginning of one
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LETTERS = {
    "北": "N",
    "南": "S",
    "东": "E",
    "東": "E",
    "西": "W",
    "북": "N",
    "남": "S",
    "동": "E",
    "서": "W",
}
_WORDS = {
    "nor": "N",
    "sou": "S",
    "sud": "S",
    "süd": "S",
    "sur": "S",
    "eas": "E",
    "est": "E",
    "ost": "E",
    "wes": "W",
    "oue": "W",
    "oes": "W",
}

_GAP = re.compile(r"""['"]?[ ]*[,;/|]\s*['"]?[~≈]?|[ ]+|[ ]+and[ ]+|[ ]*\n""")
_STATED = re.compile(
    r"(?:coordinat\w*|answer|guess\w*|estimate\w*|location|position|gps|near|at|around|about|approximately|roughly|with|say|choose"
    r"|suggests?|so|maybe|perhaps|probably|likely|坐标|座標)[^\w.!?\n]{0,8}"
    r"(?:(?:is|are|of|at|about|around|approximately|roughly|near|be|约|約|是|は)[^\w.!?\n]{0,3}){0,2}\s*$|[:=]\s*$",
    re.IGNORECASE,
)
_OTHERWISE = re.compile(
    r"(?:[$€£]|\b(?:usd|eur|gbp|prices?|costs?|hours?|times?|um|versions?|v|table|fig\w*|scores?|confidence|prob(?:abilit\w*|s)?|temperatures?"
    r"|iou|ratios?|rgb|embedding|vector|angles?|pitch|chapter|section|pages?|cuda|python|sizes?|bbox|weights?|loss|logits|ratings?|facts|menu"
    r"|rs|kr)|¥)(?:\s+(?:is|are|was|of|lists?))?\W{0,3}$",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r" *(?:[%€£$]|°\s*[CF]\b|(?:km|m|mi|miles?|mm|cm|eur|usd|euros?|dollars?|million|billion|people|uhr|px|pixels?|kg|am|pm"
    r"|years?|hours?|min(?:utes?)?|sec(?:onds?)?|mph|percent)\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Angle:
    """One written angle in degrees, where it stands, and which axis it says it is on."""

    start: int
    end: int
    value: float
    axis: Axis | None
    decimals: int
    marked: bool
    exact: bool
    comma: bool
    heading: str
    labelled: bool


@dataclass(frozen=True, slots=True)
class Pair:
    """A latitude and a longitude that stand together; `named` when the text says which is which."""

    start: int
    end: int
    location: Location
    named: bool


def pairs(text: str) -> Iterator[Pair]:
    """Every pair of angles in a normalized text that is a point on Earth, from left to right."""
    angles = list(_angles(text))
    position = 0
    while position < len(angles):
        used = _list_of_numbers(text, angles, position)
        if not used:
            pair, used = _pair_from(text, angles, position)
            if pair is not None:
                yield pair
        position += used


def angle(text: str) -> float | None:
    """The one angle that a normalized text holds ("48.85° N", "2,29"), or None."""
    found = list(_angles(text))
    return found[0].value if len(found) == 1 and math.isfinite(found[0].value) else None


def _angles(text: str) -> Iterator[Angle]:
    end = 0
    for match in _ANGLE.finditer(text):
        angle = _read(match, text[max(end, match.start() - 500) : match.start()])
        end = match.end()
        if angle is not None and angle.axis is None and (late := _LATE.match(text, end)):
            end = (
                late.end()
            )  # "48.86 latitude": the label belongs to the number before it, not to the next one.
            value = -angle.value if _hemisphere(late[2] or "") in ("S", "W") else angle.value
            angle = replace(
                angle, end=end, value=value, axis="lat" if late[1] else "lon", labelled=True
            )
        if angle is not None:
            yield angle


def _read(match: re.Match[str], gap: str) -> Angle | None:
    """One angle; `gap` is the text between it and the angle before, where its label stands."""
    part = match.groupdict()
    degrees = part["d1"] or part["d2"] or part["d3"]
    minutes = float((part["m1"] or part["m2"] or "0").replace(",", "."))
    seconds = float((part["s1"] or part["s2"] or "0").replace(",", "."))
    if minutes >= 60 or seconds >= 60:
        return None
    value = float(degrees.replace(",", ".")) + minutes / 60 + seconds / 3600
    label, aside, heading = _label(gap)
    hemisphere = _hemisphere(part["before"] or part["after"] or aside)
    if hemisphere == "O":
        value = math.nan  # Ost or Ouest: it cannot be told which.
    elif hemisphere in ("N", "E") and part["sign"] == "-":
        return None  # It contradicts itself.
    elif part["sign"] == "-" or hemisphere in ("S", "W"):
        value = -value
    side: Axis | None = ("lat" if hemisphere in "NS" else "lon") if hemisphere else None
    fraction = re.split(r"[.,]", degrees)[1:]
    decimals = len(fraction[0]) if fraction else 0
    whole = bool(part["d1"] or part["d2"])
    return Angle(
        start=match.start(),
        end=match.end(),
        value=value,
        axis=side or label,
        decimals=decimals,
        marked=whole or bool(part["unit"]),
        exact=whole or decimals >= 2,
        comma="," in degrees,
        heading=heading,
        labelled=label is not None,
    )


def _hemisphere(written: str) -> str:
    """N, S, E or W for any of its names; O where that is ambiguous; nothing for nothing."""
    return (
        (_LETTERS.get(written[:1]) or _WORDS.get(written[:3].lower()) or written[:1].upper())
        if written
        else ""
    )


def _label(gap: str) -> tuple[Axis | None, str, str]:
    """The axis that the words before an angle name, a hemisphere beside it, and which axis a heading of both has first."""
    found = [
        match
        for match in _LABEL.finditer(gap)
        if match.group().lower() != "long" or _BESIDE.fullmatch(gap[match.end() :])
    ]
    if not found:
        return None, "", ""
    axes: list[Axis] = ["lat" if match["lat"] else "lon" for match in found]
    if len(set(axes)) == 2:  # It speaks for the pair that follows, and for neither angle by itself.
        return None, "", axes[0]
    between = gap[found[-1].end() :]
    if not _REACH.fullmatch(between):
        return None, "", ""
    aside = _HEMISPHERE_ASIDE.search(between) or _SIDE_BEFORE.search(gap[: found[-1].start()])
    return axes[0], aside[1] if aside else "", ""


def _list_of_numbers(text: str, angles: list[Angle], position: int) -> int:
    """How many angles are a mere list: three or more bare numbers in a row, but for an altitude or a score after a pair."""
    run = [angles[position]]
    for following in angles[position + 1 : position + 40]:
        gap = text[run[-1].end : following.start]
        if following.axis or run[-1].axis or ";" in gap or "\n" in gap or not _GAP.fullmatch(gap):
            break
        run.append(following)
    if len(run) < 3:
        return 0
    fewest = min(run[0].decimals, run[1].decimals)
    after = text[run[2].end : run[2].end + 20]
    if len(run) == 3 and (
        run[0].heading
        or (fewest >= 3 and run[2].decimals < 3)
        or (fewest >= 2 and _UNIT.match(after))
    ):
        return 0
    return len(run)


def _pair_from(text: str, angles: list[Angle], position: int) -> tuple[Pair | None, int]:
    """The pair that begins at an angle, and how many angles were used up."""
    first = angles[position]
    for step, second in enumerate(angles[position + 1 : position + 3], 1):
        # One unnamed number may stand between named ones: an altitude, a confidence, the number of
        # a list.
        if first.axis and second.axis and first.axis != second.axis:
            near = 400 if first.labelled and second.labelled else 60
            if second.start - first.end <= near and _worth(text, first, second):
                return _pair(first, second, named=True), step + 1
        if second.axis:
            break
    for second in angles[position + 1 : position + 2]:
        follows = second.axis is None or (
            first.axis is None and first.marked and second.axis == "lon"
        )
        if follows and _bare(text, first, second):
            return _pair(first, second, named=first.axis is not None), 2
    return None, 1


def _worth(text: str, first: Angle, second: Angle) -> bool:
    """Whether two numbers with mere letters beside them are coordinates, and not "Highway 12 N, Exit 45 E"."""
    if (
        first.labelled
        or second.labelled
        or any(one.decimals or one.marked for one in (first, second))
    ):
        return True
    stated, enclosed, alone = _setting(text, first, second)
    return stated or enclosed or alone


def _setting(text: str, first: Angle, second: Angle) -> tuple[bool, bool, bool]:
    """Whether the words before announce a coordinate, whether it stands in brackets, and whether alone on its line."""
    before, after = (
        text[max(0, first.start - 100) : first.start],
        text[second.end : second.end + 100],
    )
    enclosed = before.rstrip(" '\"")[-1:] in ("(", "[", "{") and after.lstrip(" '\"")[:1] in (
        ")",
        "]",
        "}",
    )
    line_before, line_after = before.rpartition("\n")[2], after.partition("\n")[0]
    alone = not line_before.strip(" ([{-+:>'\"") and not line_after.strip(" )]}.;,'\"")
    return _STATED.search(before) is not None, enclosed, alone


def _bare(text: str, first: Angle, second: Angle) -> bool:
    """Whether two angles that are not both named are a pair all the same, and no mere list of numbers."""
    gap = text[first.end : second.start]
    before, after = text[max(0, first.start - 60) : first.start], text[second.end : second.end + 20]
    if not _GAP.fullmatch(gap) or _OTHERWISE.search(before) or _UNIT.match(after):
        return False
    stated, enclosed, alone = _setting(text, first, second)
    stated = stated or bool(first.heading)
    fewest, most = sorted((first.decimals, second.decimals))
    sole = alone and not (
        text[: first.start].strip(" \n([{-+:>'\"") and text[second.end :].strip(" \n)]}.;,'\"")
    )
    if first.comma or second.comma:
        # "1,234, 5,678" may be thousands; "48,8584, 2,2945" and "48,8; 2,3" cannot.
        if fewest == most == 3:
            return False
        return ";" in gap or (first.comma and second.comma and fewest >= 2)
    if "\n" in gap and "," not in gap:
        return sole and fewest >= 2
    if (
        first.labelled
        or second.axis
        or (first.exact and second.exact and first.marked and second.marked)
    ):
        return True
    if "and" in gap or gap.isspace():
        return fewest >= 2 and (stated or alone or enclosed)
    if "/" in gap:
        return fewest >= 3 or (fewest >= 2 and (stated or alone or enclosed))
    if fewest >= 2:
        return True
    if most >= 1:
        at_line_start = not before.rpartition("\n")[2].strip(" (-+>")
        return enclosed or alone or stated or at_line_start
    announced = (
        stated
        and re.search(r"(?:coordinat|answer|guess|estimate)\W*\w*\W*$", before, re.IGNORECASE)
        is not None
    )
    return not first.marked and (enclosed or sole or announced)


def _pair(first: Angle, second: Angle, named: bool) -> Pair | None:
    swapped = first.axis == "lon" or (
        first.axis is None and second.axis is None and first.heading == "lon"
    )
    lat, lon = (second, first) if swapped else (first, second)
    try:
        location = Location(lat.value, lon.value)
    except ValueError:
        return None
    if (abs(location.lat), abs(location.lon)) in ((0.0, 0.0), (90.0, 180.0)):
        return None  # A template's zeros, or the limits of the scale, echoed back.
    return Pair(first.start, second.end, location, named)
