"""The JSON of a Guess: the same for `ask` and a run folder, and replies survive it unchanged."""

import json
from pathlib import Path

from img2loc.core.guess_json import guess_record, reply_from
from img2loc.core.types import Guess, Location, Neighbour, Neighbours, Photo, Reply, Usage


def test_a_guess_survives_json() -> None:
    replies = (
        Reply("48.85, 2.29", "m", "answered", Usage(3, 4, 0.5), "", "key"),
        Reply("", "m", "failed", None, "no answer within 1 s", ""),
    )
    near = Neighbour(Location(1, 2), 0.5, "a", "town", probability=0.25)
    far = Neighbour(Location(-1, -2), -0.5, "b")
    guess = Guess(
        Photo(Path("x.jpg")),
        "located",
        Location(3, 4),
        5.0,
        Neighbours((near,), (far,)),
        ("words",),
        replies,
        "why",
    )
    record = json.loads(json.dumps(guess_record(guess), allow_nan=False))
    assert (
        record["photo"],
        record["status"],
        record["lat"],
        record["lon"],
        record["spread_km"],
    ) == ("x.jpg", "located", 3, 4, 5)
    assert (record["radius_km"], record["radius_share"], record["best"]) == (None, None, None)
    assert record["nearest"] == [
        {"lat": 1, "lon": 2, "similarity": 0.5, "id": "a", "label": "town", "probability": 0.25}
    ]
    assert record["farthest"] == [
        {"lat": -1, "lon": -2, "similarity": -0.5, "id": "b", "label": ""}
    ]
    assert record["prompts"] == ["words"]
    assert tuple(map(reply_from, record["replies"])) == replies
    assert record["detail"] == "why"


def test_no_answer_has_no_coordinates() -> None:
    record = guess_record(Guess(Photo(Path("x.jpg")), "refused", detail="declined"))
    assert (record["lat"], record["lon"], record["radius_km"], record["status"]) == (
        None,
        None,
        None,
        "refused",
    )
