"""Two written angles → a point on Earth: which belong together, and which are mere numbers."""

import re
from collections.abc import Iterator

from img2loc.lmm.parse.notations.angle import Angle, angles
from img2loc.lmm.parse.notations.candidate import Candidate, point

_GAP = re.compile(r"""['"]?[ ]*[,;/|]\s*['"]?[~≈]?|[ ]+|[ ]+and[ ]+|[ ]*\n""")
_ANNOUNCED = re.compile(
    r"(?:coordinat\w*|answer|guess\w*|estimate\w*|location|position|gps|near|at|around|about"
    r"|approximately|roughly|with|say|choose|suggests?|so|maybe|perhaps|probably|likely|坐标|座標)"
    r"[^\w.!?\n]{0,8}"
    r"(?:(?:is|are|of|at|about|around|approximately|roughly|near|be|约|約|是|は)"
    r"[^\w.!?\n]{0,3}){0,2}\s*$|[:=]\s*$",
    re.IGNORECASE,
)
_ANSWER = re.compile(r"(?:coordinat|answer|guess|estimate)\W*\w*\W*$", re.IGNORECASE)
_OTHER_QUANTITY = re.compile(
    r"(?:[$€£]|\b(?:usd|eur|gbp|prices?|costs?|hours?|times?|um|versions?|v|table|fig\w*|scores?"
    r"|confidence|prob(?:abilit\w*|s)?|temperatures?|iou|ratios?|rgb|embedding|vector|angles?|pitch"
    r"|chapter|section|pages?|cuda|python|sizes?|bbox|weights?|loss|logits|ratings?|facts|menu"
    r"|rs|kr)|¥)(?:\s+(?:is|are|was|of|lists?))?\W{0,3}$",
    re.IGNORECASE,
)
_UNIT = re.compile(
    r" *(?:[%€£$]|°\s*[CF]\b|(?:km|m|mi|miles?|mm|cm|eur|usd|euros?|dollars?|million|billion"
    r"|people|uhr|px|pixels?|kg|am|pm|years?|hours?|min(?:utes?)?|sec(?:onds?)?|mph|percent)\b)",
    re.IGNORECASE,
)
_TEMPLATE = {(0.0, 0.0), (90.0, 180.0)}
"""A template's zeros and the limits of the scale, which LMMs echo back."""


def angle_pairs(text: str) -> Iterator[Candidate]:
    """Every pair of angles in a normalized text that is a point on Earth, from left to right.

    A pair that says which angle is which has more merit.
    """
    written = list(angles(text))
    position = 0
    while position < len(written):
        used = _list_of_numbers(text, written, position)
        if not used:
            pair, used = _pair_from(text, written, position)
            if pair is not None:
                yield pair
        position += used


def _list_of_numbers(text: str, angles: list[Angle], position: int) -> int:
    """How many angles from here on are a mere list of three or more bare numbers.

    A pair may be followed by an altitude or a score.
    """
    run = [angles[position]]
    for following in angles[position + 1 : position + 40]:
        gap = text[run[-1].end : following.start]
        if following.axis or run[-1].axis or ";" in gap or "\n" in gap or not _GAP.fullmatch(gap):
            break
        run.append(following)
    if len(run) != 3:
        return len(run) if len(run) > 3 else 0
    fewest = min(run[0].decimals, run[1].decimals)
    has_unit = _UNIT.match(text[run[2].end : run[2].end + 20])
    precise = (fewest >= 3 and run[2].decimals < 3) or (fewest >= 2 and has_unit)
    return 0 if run[0].heading or precise else 3


def _pair_from(text: str, angles: list[Angle], position: int) -> tuple[Candidate | None, int]:
    """The pair that begins at an angle, and how many angles were used up."""
    first, *others = angles[position : position + 3]
    # One unnamed number may stand between named ones: an altitude, a confidence, a list's number.
    for used, second in enumerate(others, 2):
        if first.axis and second.axis and first.axis != second.axis:
            near = 400 if first.labeled and second.labeled else 60
            if second.start - first.end <= near and _is_named_pair(text, first, second):
                return _pair(first, second, named=True), used
        if second.axis:
            break
    for second in others[:1]:
        half_named = first.axis is None and first.marked and second.axis == "lon"
        if (second.axis is None or half_named) and _is_bare_pair(text, first, second):
            return _pair(first, second, named=first.axis is not None), 2
    return None, 1


def _is_named_pair(text: str, first: Angle, second: Angle) -> bool:
    """Whether an N and an E are coordinates, and not "Highway 12 N, Exit 45 E"."""
    precise = first.decimals or second.decimals or first.marked or second.marked
    return bool(first.labeled or second.labeled or precise or any(_setting(text, first, second)))


def _setting(text: str, first: Angle, second: Angle) -> tuple[bool, bool, bool]:
    """Whether a pair is announced by the words before it, in brackets, alone on its line."""
    before = text[max(0, first.start - 100) : first.start]
    after = text[second.end : second.end + 100]
    opening, closing = before.rstrip(" '\"")[-1:], after.lstrip(" '\"")[:1]
    line_before, line_after = before.rpartition("\n")[2], after.partition("\n")[0]
    return (
        _ANNOUNCED.search(before) is not None,
        opening in ("(", "[", "{") and closing in (")", "]", "}"),
        not line_before.strip(" ([{-+:>'\"") and not line_after.strip(" )]}.;,'\""),
    )


def _is_bare_pair(text: str, first: Angle, second: Angle) -> bool:
    """Whether two angles that are not both named are a pair all the same."""
    gap = text[first.end : second.start]
    before, after = text[max(0, first.start - 60) : first.start], text[second.end : second.end + 20]
    if not _GAP.fullmatch(gap) or _OTHER_QUANTITY.search(before) or _UNIT.match(after):
        return False
    announced, enclosed, alone = _setting(text, first, second)
    announced = announced or first.heading is not None
    set_apart = announced or enclosed or alone
    fewest, most = sorted((first.decimals, second.decimals))
    is_whole_text = alone and not (
        text[: first.start].strip(" \n([{-+:>'\"") and text[second.end :].strip(" \n)]}.;,'\"")
    )
    if first.comma or second.comma:
        # "1,234, 5,678" may be thousands; "48,8584, 2,2945" and "48,8; 2,3" cannot.
        if fewest == most == 3:
            return False
        return ";" in gap or (first.comma and second.comma and fewest >= 2)
    if "\n" in gap and "," not in gap:
        return is_whole_text and fewest >= 2
    both_marked = first.exact and second.exact and first.marked and second.marked
    if first.labeled or second.axis or both_marked:
        return True
    if "and" in gap or gap.isspace():
        return fewest >= 2 and set_apart
    if "/" in gap:
        return fewest >= 3 or (fewest >= 2 and set_apart)
    if fewest >= 2:
        return True
    if most >= 1:
        at_line_start = not before.rpartition("\n")[2].strip(" (-+>")
        return set_apart or at_line_start
    is_answer = announced and _ANSWER.search(before) is not None
    return not first.marked and (enclosed or is_whole_text or is_answer)


def _pair(first: Angle, second: Angle, named: bool) -> Candidate | None:
    longitude_first = first.axis == "lon" or (
        first.axis is None and second.axis is None and first.heading == "lon"
    )
    lat, lon = (second, first) if longitude_first else (first, second)
    location = point(lat.value, lon.value)
    if location is None or (abs(location.lat), abs(location.lon)) in _TEMPLATE:
        return None
    return Candidate(first.start, second.end, location, merit=2 if named else 0)
