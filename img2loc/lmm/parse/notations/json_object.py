"""JSON objects, GeoJSON among them → coordinates, whatever their keys are called exactly."""

import json
import re
from collections.abc import Iterator
from typing import Any

from img2loc.core.types import Location
from img2loc.lmm.parse.normalize import normalize
from img2loc.lmm.parse.notations.angle import angle
from img2loc.lmm.parse.notations.angle_pair import angle_pairs
from img2loc.lmm.parse.notations.candidate import Candidate, point

_AXIS_KEYS = {"lat": ("latitude", "lat"), "lon": ("longitude", "lon", "lng", "long")}
_QUALIFIERS = {
    *("gps", "predicted", "estimated", "pred", "est", "final", "best", "guess", "center"),
    *("photo", "image", "location", "deg", "degree", "degrees", "decimal", "value"),
}
"""Words beside an axis in a key, as in "predicted_latitude_deg"."""
_PAIR_KEYS = (
    *("coordinates", "coordinate", "coords", "location", "answer", "latlon", "lat_lon"),
    *("latlng", "gps", "position", "point"),
)
_BEST_KEYS = ("final", "answer", "best", "prediction", "guess", "location", "coordinates", "result")
_LOOSE_OBJECT = re.compile(r"\{[^{}]{1,2000}\}")
_LOOSE_ENTRY = re.compile(r"""["']?([A-Za-z_ ]{1,40}?)["']?\s*:\s*["']?([^"',:{}\n]{1,40})""")
_MAX_BRACES = 200
"""Opening braces at which JSON is looked for; a reply with more is no reply."""
_MAX_DEPTH = 8


def json_objects(text: str) -> Iterator[Candidate]:
    """Every JSON object in a text, with its best location or none.

    One that is no JSON ("city": Lyon, without quotes) counts where it has both coordinates.
    """
    decoder, position = json.JSONDecoder(), 0
    for _ in range(_MAX_BRACES):
        start = text.find("{", position)
        if start < 0:
            return
        try:
            value, position = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            position = start + 1
            if (loose := _LOOSE_OBJECT.match(text, start)) and (at := _loose_location(loose[0])):
                position = loose.end()
                yield Candidate(start, position, at, merit=4, is_object=True)
        else:
            yield Candidate(start, position, _location(value), merit=4, is_object=True)


def _loose_location(text: str) -> Location | None:
    """The location in an object that is no JSON, by its keys for latitude and longitude."""
    by_key = {key.strip().lower(): entry for key, entry in _LOOSE_ENTRY.findall(text)}
    return point(_axis(by_key, "lat"), _axis(by_key, "lon"))


def _location(value: Any, depth: int = 0) -> Location | None:
    """The best location in a value: its own keys, keys that name an answer, then the first."""
    if depth > _MAX_DEPTH:
        return None
    entries: list[Any] = []
    if isinstance(value, str):
        return next((pair.location for pair in angle_pairs(value)), None)
    if isinstance(value, list):
        entries = value
    elif isinstance(value, dict):
        by_key = {str(key).strip().lower(): entry for key, entry in value.items()}
        lat, lon = _axis(by_key, "lat"), _axis(by_key, "lon")
        if lat is not None or lon is not None:
            return point(lat, lon)
        for key in _PAIR_KEYS:
            if _is_pair(by_key.get(key)):
                first, second = map(_degrees, by_key[key][:2])
                is_geojson = by_key.get("type") == "Point"  # RFC 7946: longitude first
                return point(second, first) if is_geojson else point(first, second)
        best_first = sorted(by_key, key=lambda key: not any(best in key for best in _BEST_KEYS))
        entries = [by_key[key] for key in best_first]
    locations = (_location(entry, depth + 1) for entry in entries)
    return next(filter(None, locations), None)


def _is_pair(entry: Any) -> bool:
    """Whether it is [lat, lon] or [lat, lon, altitude]."""
    return (
        isinstance(entry, list)
        and len(entry) in (2, 3)
        and not any(isinstance(number, dict | list) for number in entry)
    )


def _axis(by_key: dict[str, Any], axis: str) -> float | None:
    """The angle of an axis, with a hemisphere that stands in a key of its own."""
    names = _AXIS_KEYS[axis]
    exact = [key for key in names if key in by_key]
    words = {key: set(re.split(r"[\s_-]+", key)) for key in by_key}
    loose = [
        key for key in by_key if words[key] & set(names) and words[key] <= _QUALIFIERS | set(names)
    ]
    value = next((by_key[key] for key in (*exact, *loose)), None)
    if value is None:
        return None
    sides = (key for key in by_key if key.startswith(names) and re.search("dir|hemi|ref", key))
    side = next((str(by_key[key]) for key in sides), "")
    return _degrees(f"{value} {side}" if side else value, axis)


def _degrees(value: Any, axis: str = "") -> float | None:
    """The angle that a number, a text or an object of degrees, minutes and seconds holds."""
    if isinstance(value, dict):
        parts = (entry for entry in value.values() if not isinstance(entry, dict | list))
        value = " ".join(map(str, parts))
    if isinstance(value, str):
        return angle(normalize(f"{axis}: {value}" if axis else value))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:
        return None
