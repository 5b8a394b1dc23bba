"""Links to Google, Apple, OpenStreetMap and other maps, and geo: URIs → coordinates."""

import re
from collections.abc import Iterator

from img2loc.lmm.parse.notations.candidate import Candidate, point

_LINK = re.compile(r"(?:https?://|geo:|www\.)[^\s<>\"'\])}]+", re.IGNORECASE)
_NUMBER = r"([+-]?\d{1,3}(?:\.\d+)?)"
_COORDINATES = [
    re.compile(pattern.replace("NUMBER", _NUMBER), re.IGNORECASE)
    for pattern in (
        r"!3dNUMBER!4dNUMBER",  # the place itself, where a Google link also has a view
        r"[?&]mlat=NUMBER&(?:amp;)?mlon=NUMBER",
        r"[?&](?:q|sll|query|center|destination|daddr|point|map|cp)="
        r"(?:loc:)?NUMBER(?:,|%2C|~|%7E)(?:\+|%20)?NUMBER",
        r"(?:google|apple|waze)\S*[?&]ll=NUMBER(?:,|%2C)NUMBER",  # others write longitude first
        r"(?:^geo:|@|/place/|/search/)NUMBER,\+?NUMBER",
        r"#map=\d+(?:\.\d+)?/NUMBER/NUMBER",
    )
]


def map_links(text: str) -> Iterator[Candidate]:
    """Every link, with the coordinates in it or none."""
    for link in _LINK.finditer(text):
        matches = (pattern.search(link.group()) for pattern in _COORDINATES)
        match = next(filter(None, matches), None)
        location = point(float(match[1]), float(match[2])) if match else None
        yield Candidate(*link.span(), location, merit=1)
