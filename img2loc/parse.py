"""A reply's text → the Location that it settles on, or None: never a made-up coordinate."""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from img2loc.angles import angle, pairs
from img2loc.types import Location

_CHARACTERS = str.maketrans(
    {
        **dict.fromkeys("\u2212\ufe63\uff0d", "\u2212"),  # minus signs, kept apart until they are joined to their number
        **dict.fromkeys("\u2010\u2011\u2013\u2014", "-"),
        **dict.fromkeys("º˚ᵒ", "°"),
        **dict.fromkeys("′’‘ʹ´ʼ", "'"),
        **dict.fromkeys("″“”ʺ„", '"'),
        **dict.fromkeys("\u00a0\u2007\u2009\u200a\u202f\u3000\t", " "),
        **dict.fromkeys("\u200b\u200e\u200f\u2060\ufeff", ""),
        **dict.fromkeys("*`", " "),
    }
)
_LINK = re.compile(r"(?:https?://|geo:|www\.)[^\s<>\"'\])}]+", re.IGNORECASE)
_NUMBER = r"([+-]?\d{1,3}(?:\.\d+)?)"
_IN_LINK = [
    re.compile(pattern.replace("NUMBER", _NUMBER), re.IGNORECASE)
    for pattern in (
        r"!3dNUMBER!4dNUMBER",  # the place itself, where a Google link also has a view
        r"[?&]mlat=NUMBER&(?:amp;)?mlon=NUMBER",
        r"[?&](?:q|ll|sll|query|center|destination|daddr|point)=(?:loc:)?NUMBER(?:,|%2C)(?:\+|%20)?NUMBER",
        r"(?:^geo:|@|/place/|/search/)NUMBER,\+?NUMBER",
        r"#map=\d+(?:\.\d+)?/NUMBER/NUMBER",
    )
]
_SENTENCE_END = re.compile(r"[.!?;](?=\s)|\n")
_NEGATED = re.compile(
    r"(?:\bnot|n't|\brather than|\binstead of|\bunlike|\bexclud\w+|\brul(?:ed?|ing) out)"
    r"(?!\s+(?:sure|certain|possible|exact|entirely|clear|able|only|be|give|provide))"
    r"(?:(?!\b(?:but|though|however|guess|likely|rather)\b)[^:;\n]){0,40}$",
    re.IGNORECASE,
)
_ALTERNATIVE = re.compile(
    r"\b(?:alternativ\w*|other possib\w*|could also|also possible|or possibly|second\w* (?:guess|choice)|another|similar to"
    r"|similar (?:image|photo|location|place)s?|dissimilar|references?|compare[ds]?|resembles?|at first|initial\w*"
    r"|for example|such as|e\.g|neighbou?rs?)\b",
    re.IGNORECASE,
)
_SETTLED = re.compile(
    r"\b(?:final\w*|answer|guess|estimate[ds]?|conclu\w+|settle\w*|therefore|likely|i would say|i'd say|predict\w+"
    r"|coordinates?)\b",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:sorry|apologi[sz]e|(?:can(?:no|')t|could not|couldn't|unable to|not able to|won't|will not|not possible to|impossible to)"
    r"\s+(?:\w+\s+){0,4}?(?:help|assist|determine|identify|provide|tell|give|say|locate|pinpoint|answer|comply|guess|geolocate"
    r"|infer|do))\b",
    re.IGNORECASE,
)
_LAT_KEYS, _LON_KEYS = ("latitude", "lat"), ("longitude", "lon", "lng", "long")
_BEST_KEYS = ("final", "answer", "best", "prediction", "guess", "location", "coordinates", "result")


@dataclass(frozen=True, slots=True)
class _Candidate:
    start: int
    end: int
    location: Location
    merit: int


def parse(text: str) -> Location | None:
    """The coordinates that an LMM's reply settles on, or None where it gives none that are a point on Earth.

    Reads JSON, labelled lines, decimal degrees, degrees-minutes-seconds, map links and coordinates in prose. Where a reply
    names several, those that it denies are dropped, those that it calls its answer are preferred, and the last one wins.
    """
    text = normalise(text)
    candidates = sorted(_candidates(text), key=lambda found: found.start)
    best: tuple[int, Location] | None = None
    previous_end = 0
    for candidate in candidates:
        merit = _merit(text, candidate, previous_end)
        previous_end = max(previous_end, candidate.end)
        if merit is not None and (best is None or merit >= best[0]):
            best = merit, candidate.location
    return best[1] if best else None


def refuses(text: str) -> bool:
    """Whether a reply without coordinates reads as a refusal."""
    return _REFUSAL.search(normalise(text)) is not None


def normalise(text: str) -> str:
    """One way of writing signs, quotes, degrees, digits and spaces; without markup, and without a reasoning model's thoughts."""
    text = re.sub(r"<think(?:ing)?>.*?</think(?:ing)?>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(r"\$([^$\n]*\\[^$\n]*)\$", r" \1 ", text)  # LaTeX
    text = re.sub(r"\^?\{?\\(?:circ|degree)\}?|&deg;|\\u00b0", "°", text)
    text = "".join(_ascii_digit(character) for character in text.translate(_CHARACTERS))
    text = re.sub("\u2212 ?(?=\\d)", "-", text).replace("\u2212", "-")
    return text.replace("''", '"')


def _ascii_digit(character: str) -> str:
    if character.isascii():
        return character
    if "\uff01" <= character <= "\uff5e":  # full-width forms
        return unicodedata.normalize("NFKC", character)
    digit = unicodedata.decimal(character, None)
    return character if digit is None else str(digit)


def _candidates(text: str) -> Iterator[_Candidate]:
    for link in _LINK.finditer(text):
        for pattern in _IN_LINK:
            if match := pattern.search(link.group()):
                if location := _location(float(match[1]), float(match[2])):
                    yield _Candidate(*link.span(), location, 1)
                break
    text = _LINK.sub(lambda link: " " * len(link.group()), text)
    for start, end, value in _json_values(text):
        if location := _in_json(value):
            yield _Candidate(start, end, location, 4)
        text = text[:start] + " " * (end - start) + text[end:] if isinstance(value, dict) and location else text
    for pair in pairs(text):
        yield _Candidate(pair.start, pair.end, pair.location, 2 if pair.named else 0)


def _merit(text: str, candidate: _Candidate, previous_end: int) -> int | None:
    """How much the words around a candidate speak for it; None when they deny it."""
    before = text[previous_end : candidate.start]
    clause = before[max((end.end() for end in _SENTENCE_END.finditer(before)), default=0) :]
    if _NEGATED.search(clause):
        return None
    merit = candidate.merit
    if _SETTLED.search(clause):
        merit += 5
    if _ALTERNATIVE.search(clause):
        merit -= 6
    if text[candidate.end :].lstrip(" )]").startswith("?"):
        merit -= 6
    line_before = text[: candidate.start].rpartition("\n")[2]
    line_after = text[candidate.end :].partition("\n")[0]
    if not line_before.strip(" ([{") and not line_after.strip(" )]}.,;"):
        merit += 3
    return merit


def _json_values(text: str) -> Iterator[tuple[int, int, Any]]:
    decoder = json.JSONDecoder()
    position = 0
    while (start := text.find("{", position)) >= 0:
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
        else:
            yield start, end, value
            position = end


def _in_json(value: Any, depth: int = 0) -> Location | None:
    """The best location in a JSON value: its own keys, then keys that name an answer, then whatever comes first."""
    if depth > 8:
        return None
    if isinstance(value, list):
        return next((found for entry in value if (found := _in_json(entry, depth + 1))), None)
    if isinstance(value, str):
        return next((pair.location for pair in pairs(value)), None) if depth else None
    if not isinstance(value, dict):
        return None
    by_key = {str(key).strip().lower(): entry for key, entry in value.items()}
    lat = next((by_key[key] for key in by_key if key.startswith(_LAT_KEYS)), None)
    lon = next((by_key[key] for key in by_key if key.startswith(_LON_KEYS)), None)
    if lat is not None and lon is not None:
        return _location(_degrees(lat, "lat"), _degrees(lon, "lon"))
    coordinates = by_key.get("coordinates")
    if isinstance(coordinates, list) and len(coordinates) in (2, 3) and not any(isinstance(c, dict | list) for c in coordinates):
        first, second = (_degrees(coordinate) for coordinate in coordinates[:2])
        is_geojson = by_key.get("type") == "Point"  # RFC 7946: longitude first
        return _location(second, first) if is_geojson else _location(first, second)
    ranked = sorted(by_key, key=lambda key: not any(best in key for best in _BEST_KEYS))
    return next((found for key in ranked if (found := _in_json(by_key[key], depth + 1))), None)


def _degrees(value: Any, axis: str = "") -> float | None:
    if isinstance(value, dict):
        value = next(iter(value.values()), None)
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    return angle(normalise(f"{axis} {value}" if axis else value)) if isinstance(value, str) else None


def _location(lat: float | None, lon: float | None) -> Location | None:
    if lat is None or lon is None or lat == lon == 0.0:
        return None
    try:
        return Location(lat, lon)
    except ValueError:
        return None
