"""The parser: a corpus of replies, round trips in every notation, and what is never a place."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from geopy.point import Point  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from img2loc.core.types import Location
from img2loc.lmm.parse.reply import parse_location, refuses
from tests.conftest import SHARED

CORPUS: list[dict[str, Any]] = tomllib.loads(
    Path(__file__).with_name("replies.toml").read_text(encoding="utf-8")
)["reply"]


@pytest.mark.parametrize("reply", CORPUS, ids=lambda reply: reply["text"][:60])
def test_corpus(reply: dict[str, Any]) -> None:
    found = parse_location(reply["text"])
    if "lat" not in reply:
        assert found is None
    else:
        assert found is not None
        assert (found.lat, found.lon) == pytest.approx((reply["lat"], reply["lon"]), abs=1e-4)


places = st.tuples(st.integers(-899_999, 899_999), st.integers(-1_799_999, 1_799_999)).filter(
    lambda degrees: degrees[0] and degrees[1]
)


def sexagesimal(value: float, letters: str, unicode: bool) -> str:
    seconds = round(abs(value) * 36_000) / 10
    degrees, minutes, rest = int(seconds // 3600), int(seconds % 3600 // 60), seconds % 60
    marks = "°′″" if unicode else "°'\""
    return f"{degrees}{marks[0]}{minutes}{marks[1]}{rest:.1f}{marks[2]}{letters[value < 0]}"


NOTATIONS = {
    "pair": lambda lat, lon: f"{lat:.4f}, {lon:.4f}",
    "parentheses": lambda lat, lon: f"I am confident: ({lat:.4f}, {lon:.4f}).",
    "json": lambda lat, lon: f'{{"latitude": {lat:.4f}, "longitude": {lon:.4f}}}',
    "fenced": lambda lat, lon: f'```json\n{{"lat": "{lat:.4f}", "lng": "{lon:.4f}"}}\n```',
    "nested": lambda lat, lon: (
        f'{{"reasoning": "…", "location": {{"lat": {lat:.4f}, "lon": {lon:.4f}}}}}'
    ),
    "geojson": lambda lat, lon: f'{{"type": "Point", "coordinates": [{lon:.4f}, {lat:.4f}]}}',
    "labels": lambda lat, lon: f"Latitude: {lat:.4f}\nLongitude: {lon:.4f}",
    "markdown": lambda lat, lon: f"**Latitude:** {lat:.4f}°\n**Longitude:** {lon:.4f}°",
    "hemispheres": lambda lat, lon: (
        f"{abs(lat):.4f}° {'NS'[lat < 0]}, {abs(lon):.4f}° {'EW'[lon < 0]}"
    ),
    "before": lambda lat, lon: f"{'NS'[lat < 0]} {abs(lat):.4f} {'EW'[lon < 0]} {abs(lon):.4f}",
    "words": lambda lat, lon: (
        f"{abs(lat):.4f} degrees {('north', 'south')[lat < 0]} and {abs(lon):.4f} degrees"
        f" {('east', 'west')[lon < 0]}"
    ),
    "minus": lambda lat, lon: f"{lat:.4f}, {lon:.4f}".replace("-", "\u2212"),
    "dms": lambda lat, lon: f"{sexagesimal(lat, 'NS', False)} {sexagesimal(lon, 'EW', False)}",
    "dms unicode": lambda lat, lon: (
        f"{sexagesimal(lat, 'NS', True)}, {sexagesimal(lon, 'EW', True)}"
    ),
    "comma": lambda lat, lon: f"{lat:.4f}; {lon:.4f}".replace(".", ","),
    "google": lambda lat, lon: f"See https://www.google.com/maps/@{lat:.4f},{lon:.4f},17z",
    "osm": lambda lat, lon: f"https://www.openstreetmap.org/#map=17/{lat:.4f}/{lon:.4f}",
    "thinking": lambda lat, lon: f"<think>not 45.7640, 4.8357</think>{lat:.4f}, {lon:.4f}",
    "denied first": lambda lat, lon: (
        f"It is not Lyon (45.7640, 4.8357) but a town at ({lat:.4f}, {lon:.4f})."
    ),
}


@pytest.mark.parametrize("notation", NOTATIONS)
@given(degrees=places)
@example(degrees=(-100, 1_000))
@example(degrees=(899_999, -1_799_999))
@example(degrees=(120_000, -10_000))
def test_round_trip(notation: str, degrees: tuple[int, int]) -> None:
    lat, lon = degrees[0] / 10_000, degrees[1] / 10_000
    found = parse_location(NOTATIONS[notation](lat, lon))
    assert found is not None
    assert (found.lat, found.lon) == pytest.approx((lat, lon), abs=6e-5)


@pytest.mark.parametrize("notation", ["pair", "hemispheres", "before", "dms", "dms unicode"])
@given(degrees=places)
def test_agrees_with_geopy(notation: str, degrees: tuple[int, int]) -> None:
    """geopy.Point is an oracle for the notations that it reads."""
    text = NOTATIONS[notation](degrees[0] / 10_000, degrees[1] / 10_000)
    theirs = Point(text)
    found = parse_location(text)
    assert found is not None
    assert (found.lat, found.lon) == pytest.approx((theirs.latitude, theirs.longitude), abs=1e-6)


@given(st.floats(90.001, 999), st.floats(-180, 180))
def test_what_is_out_of_range_is_no_place(lat: float, lon: float) -> None:
    for sign in (1, -1):
        assert parse_location(f"{sign * lat:.4f}, {lon:.4f}") is None
        assert parse_location(f'{{"latitude": {sign * lat:.4f}, "longitude": {lon:.4f}}}') is None


@given(st.text(max_size=300))
@example('{"lat": {"a": {}}, "lon": []}')
@example("[" * 3000)
@example('{"lat": NaN, "lon": 1}')
@example('{"lat": 1e400, "lon": 1}')
@example("lat 9" * 200)
def test_any_text_is_read_without_an_error(text: str) -> None:
    found = parse_location(text)
    assert found is None or isinstance(found, Location)
    refuses(text)  # must not raise either


@given(st.floats(-1e6, 1e6))
def test_a_lone_number_is_no_place(number: float) -> None:
    assert parse_location(f"{number}") is None
    assert parse_location(f"About {number:.2f} km from the coast.") is None


@given(st.dates())
def test_a_date_is_no_place(date: Any) -> None:
    for text in (
        date.isoformat(),
        f"{date:%d/%m/%Y}",
        f"{date:%d.%m.%Y}",
        f"{date:%B %d, %Y}",
        f"{date:%d %B %Y, %H:%M}",
    ):
        assert parse_location(f"Taken on {text}.") is None


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with identifying the location of this photo.",
        "I cannot determine the exact location from this image.",
        "I’m unable to provide coordinates for this picture.",
        "Sorry, there is not enough information.",
    ],
)
def test_refusals_are_recognised(text: str) -> None:
    assert parse_location(text) is None
    assert refuses(text)


def test_an_answer_is_no_refusal() -> None:
    assert not refuses("What a lovely beach!")


@pytest.mark.skipif(not (SHARED / "replies").exists(), reason="needs ../shared/data/replies")
def test_the_object_that_closes_a_real_reply_is_its_answer() -> None:
    # Read by a pattern, not by a JSON decoder: many objects have words without quotes.
    axes = [re.compile(rf"\b{key}[\"']?\s*:\s*(-?\d+(?:\.\d+)?)") for key in ("lat", "lon")]
    read = 0
    for file in sorted((SHARED / "replies").glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            text = json.loads(line)["reply"]
            closing = re.search(r"\{[^{}]*\}[\s`]*$", text)
            found = [axis.search(closing[0]) for axis in axes] if closing else []
            degrees = tuple(float(match[1]) for match in found if match)
            if len(degrees) == 2 and any(degrees):
                assert parse_location(text) == Location(*degrees), text
                read += 1
    assert read > 3_900
