"""A reply's text → the Location that it settles on, or None: never a made-up coordinate."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from img2loc.core.types import Location
from img2loc.lmm.parse.coordinates import angle, pairs
from img2loc.lmm.parse.normalize import normalize

_LINK = re.compile(r"(?:https?://|geo:|www\.)[^\s<>\"'\])}]+", re.IGNORECASE)
_NUMBER = r"([+-]?\d{1,3}(?:\.\d+)?)"
_IN_LINK = [
    re.compile(pattern.replace("NUMBER", _NUMBER), re.IGNORECASE)
    for pattern in (
        r"!3dNUMBER!4dNUMBER",  # the place itself, where a Google link also has a view
        r"[?&]mlat=NUMBER&(?:amp;)?mlon=NUMBER",
        r"[?&](?:q|sll|query|center|destination|daddr|point|map|cp)=(?:loc:)?NUMBER(?:,|%2C|~|%7E)(?:\+|%20)?NUMBER",
        r"(?:google|apple|waze)\S*[?&]ll=NUMBER(?:,|%2C)NUMBER",  # others write longitude first there
        r"(?:^geo:|@|/place/|/search/)NUMBER,\+?NUMBER",
        r"#map=\d+(?:\.\d+)?/NUMBER/NUMBER",
    )
]
_SENTENCE_END = re.compile(r"(?<!\s\d)[.!?;](?=\s)|(?<![:\n])\n")
_SAME_LIST = re.compile(r"[ )\](\[,;]*(?:\n|and)?[ (\[]*")
_PLACE_NAME = (
    r"(?:\s+(?:be|look"
    r" like|match|in|at|near|around|from|the|a|really|actually|necessarily|coordinates|of|city|town|to)\b)*"
)
_DENIED = re.compile(
    r"(?:(?i:\b(?:not|never|unlike|rather than|instead of|excluding|rul(?:e|es|ed|ing)"
    r" out|cannot)\b)|n't\b)" + _PLACE_NAME + r"(?:\s+[A-Z][\w'-]*,?){0,5}\s*[(\[\"']*$"
)
_FINAL = re.compile(
    r"\b(?:final\w*|answer|conclu\w+|settle\w*|therefore|i choose|i'll go with)\b", re.IGNORECASE
)
_LIKELY = re.compile(
    r"\b(?:best guess|guess|estimate[ds]?|most likely|i would say|i'd"
    r" say|predict\w+|coordinates?)\b|\b(?<!less )(?<!un)likely\b",
    re.IGNORECASE,
)
_OTHER = re.compile(
    r"\b(?:alternativ\w*|other possib\w*|could also|also possible|or"
    r" possibly|second\w*|third|[2-9](?:nd|rd|th)|another"
    r"|similar"
    r" (?:to|image|photo|location|place)s?|dissimilar|references?|compare[ds]?|resembles?|at"
    r" first|initial\w*|considered"
    r"|for example|such as|e\.g|neighbou?rs?|replica|less likely|unlikely|farthest|(?:far|km)"
    r" from)\b"
    r"|\b(?:than|over|from)\b[^.:\n]{0,25}$|^\W*(?:(?:guess|option|candidate|rank|choice)\s*#?)?[2-9][.):]\s",
    re.IGNORECASE,
)
_REJECTED_AFTER = re.compile(
    r"^[)\]\s]*(?:(?:is|was|seems|looks)\s+(?:not|unlikely|less|too|wrong|rejected|considered|excluded|ruled"
    r" out)\b"
    r"|\(?(?:less likely|unlikely|similar|dissimilar|reference)\b|\?)|\b(?:do|does)n't match\b",
    re.IGNORECASE,
)
_CHOSEN_AFTER = re.compile(
    r"\b(?:final answer|most likely|best guess|is my (?:answer|guess))\b", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:sorry(?!-)|apologi[sz]e|can(?:no|')t|can not|could not|couldn't|unable|not"
    r" able|won't|will not|impossible|decline"
    r"|refuse|not (?:comfortable|possible|determinable)|(?:do not|don't) (?:know|have)|rather"
    r" not|(?:not|n't) enough|insufficient"
    r"|no puedo|lo siento|tut mir leid|kann \w+ \w+"
    r" nicht)\b|désolé|对不起|抱歉|无法|申し訳|できません|не могу",
    re.IGNORECASE,
)
_AXIS_KEYS = {"lat": ("latitude", "lat"), "lon": ("longitude", "lon", "lng", "long")}
_HARMLESS = {
    *(
        "gps",
        "predicted",
        "estimated",
        "pred",
        "est",
        "final",
        "best",
        "guess",
        "center",
        "photo",
        "image",
        "location",
    ),
    *("deg", "degree", "degrees", "decimal", "value"),
}
_PAIR_KEYS = (
    "coordinates",
    "coordinate",
    "coords",
    "location",
    "answer",
    "latlon",
    "lat_lon",
    "latlng",
    "gps",
    "position",
    "point",
)
_BEST_KEYS = ("final", "answer", "best", "prediction", "guess", "location", "coordinates", "result")
_TRIES = 200
"""Opening braces at which JSON is looked for; a reply with more is no reply."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    start: int
    end: int
    location: Location
    merit: int


def parse_location(text: str) -> Location | None:
    """The coordinates that an LMM's reply settles on, or None where it gives none that are a point on Earth.

    Reads JSON, labelled lines, decimal degrees, degrees-minutes-seconds, map links and coordinates
    in prose. Where a reply names several, those that it denies are dropped, those that it calls its
    answer are preferred, and the last one wins.
    """
    text = normalize(text)
    candidates = sorted(_candidates(text), key=lambda found: found.start)
    best: tuple[int, Location] | None = None
    merit: int | None = None
    for number, candidate in enumerate(candidates):
        since = candidates[number - 1].end if number else 0
        until = candidates[number + 1].start if number + 1 < len(candidates) else len(text)
        if number and merit is not None and _SAME_LIST.fullmatch(text[since : candidate.start]):
            merit -= 1  # A list's entries share what is said of it, and its first is its best.
        else:
            merit = _merit(text, candidate, since, until)
        if merit is not None and (best is None or merit >= best[0]):
            best = merit, candidate.location
    return best[1] if best else None


def refuses(text: str) -> bool:
    """Whether a reply without coordinates reads as a refusal."""
    return _REFUSAL.search(normalize(text)) is not None


def _candidates(text: str) -> Iterator[_Candidate]:
    for link in _LINK.finditer(text):
        match = next(
            (found for pattern in _IN_LINK if (found := pattern.search(link.group()))), None
        )
        if match and (location := _location(float(match[1]), float(match[2]))):
            yield _Candidate(*link.span(), location, 1)
    text = _LINK.sub(lambda link: " " * len(link.group()), text)
    kept, position = [], 0
    for start, end, value in _json_values(text):
        if location := _in_json(value):
            yield _Candidate(start, end, location, 4)
        kept += [
            text[position:start],
            " " * (end - start),
        ]  # What was read as JSON is not read again as text.
        position = end
    for pair in pairs("".join(kept) + text[position:]):
        yield _Candidate(pair.start, pair.end, pair.location, 2 if pair.named else 0)


def _merit(text: str, candidate: _Candidate, since: int, until: int) -> int | None:
    """How much the words around a candidate speak for it; None when they deny it."""
    before = text[max(since, candidate.start - 300) : candidate.start]
    clause = before[max((end.end() for end in _SENTENCE_END.finditer(before)), default=0) :]
    if _DENIED.search(clause):
        return None
    after = text[candidate.end : min(until, candidate.end + 200)]
    if end := _SENTENCE_END.search(after):
        after = after[: end.end()]
    merit = candidate.merit
    merit += (
        10 * bool(_FINAL.search(clause))
        + 4 * bool(_LIKELY.search(clause))
        + 5 * bool(_CHOSEN_AFTER.search(after))
    )
    merit -= 6 * bool(_OTHER.search(clause)) + 8 * bool(_REJECTED_AFTER.search(after))
    line_before = text[max(since, candidate.start - 300) : candidate.start].rpartition("\n")[2]
    line_after = text[candidate.end : candidate.end + 300].partition("\n")[0]
    alone = not line_before.strip(" ([{") and not line_after.strip(" )]}.,;")
    return merit + 3 * alone


def _json_values(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    decoder = json.JSONDecoder()
    position = 0
    for _ in range(_TRIES):
        start = text.find("{", position)
        if start < 0:
            return
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
    lat, lon = _axis(by_key, "lat"), _axis(by_key, "lon")
    if lat is not None or lon is not None:
        return _location(lat, lon)
    for key in _PAIR_KEYS:
        entry = by_key.get(key)
        if (
            isinstance(entry, list)
            and len(entry) in (2, 3)
            and not any(isinstance(end, dict | list) for end in entry)
        ):
            first, second = _degrees(entry[0]), _degrees(entry[1])
            is_geojson = by_key.get("type") == "Point"  # RFC 7946: longitude first
            return _location(second, first) if is_geojson else _location(first, second)
    ranked = sorted(by_key, key=lambda key: not any(best in key for best in _BEST_KEYS))
    return next((found for key in ranked if (found := _in_json(by_key[key], depth + 1))), None)


def _axis(by_key: dict[str, Any], axis: str) -> float | None:
    """The angle of an axis in a JSON object, whatever its key is exactly, with a hemisphere that stands in a key of its own."""
    names = _AXIS_KEYS[axis]
    exact = [key for key in names if key in by_key]
    loose = [
        key
        for key in by_key
        if (words := set(re.split(r"[\s_-]+", key))) & set(names)
        and words <= _HARMLESS | set(names)
    ]
    side = next(
        (
            str(by_key[key])
            for key in by_key
            if key.startswith(names) and re.search(r"dir|hemi|ref", key)
        ),
        "",
    )
    value = next((by_key[key] for key in (*exact, *loose)), None)
    if value is None:
        return None
    return _degrees(f"{value} {side}" if side else value, axis)


def _degrees(value: Any, axis: str = "") -> float | None:
    if isinstance(value, dict):
        value = " ".join(
            str(entry) for entry in value.values() if not isinstance(entry, dict | list)
        )
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return None
    return (
        angle(normalize(f"{axis}: {value}" if axis else value)) if isinstance(value, str) else None
    )


def _location(lat: float | None, lon: float | None) -> Location | None:
    if lat is None or lon is None or lat == lon == 0.0:
        return None
    try:
        return Location(lat, lon)
    except ValueError:
        return None
