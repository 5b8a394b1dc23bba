"""Guesses → what a person reads, or a line of JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from img2loc.cli.stdio import plain
from img2loc.config.plan import Plan
from img2loc.core.geo import COUNTRY_KM
from img2loc.core.places import place_at
from img2loc.core.records import guess_record, neighbour_record
from img2loc.core.types import Guess, Location, Neighbour, Place
from img2loc.locators.text_search import Ranking

_FAILURES = {
    "unreadable": "cannot be read",
    "refused": "the model declined to answer",
    "unparsed": "no coordinates in the model's reply",
    "failed": "the model could not be asked",
    "unsure": "unsure",
}


def ranking_as_json(ranking: Ranking, plan: Plan) -> str:
    """One JSON object in one line."""
    best = ranking.nearest[0].location
    place = place_at(best)
    record = {
        "text": ranking.text,
        "lat": best.lat,
        "lon": best.lon,
        "place": asdict(place) if place else None,
        "nearest": [neighbour_record(near) for near in ranking.nearest],
        "density": (
            None
            if ranking.density is None
            else [
                {"lat": lat, "lon": lon, "probability": float(f"{p:.6g}")}
                for lat, lon, p in ranking.density.tolist()
            ]
        ),
        **_made_by(plan),
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def ranking_for_people(ranking: Ranking, plan: Plan, most: int) -> str:
    """The text and the towns that it points to, best first: entries near one town are one line, their probabilities added up."""
    towns: dict[str, list[Neighbour]] = {}
    for entry in ranking.nearest:
        place = place_at(entry.location)
        town = f"{place.name}, {place.region}, {place.country}" if place else "far from any town"
        towns.setdefault(town, []).append(entry)
    share = {
        town: sum(entry.probability or 0.0 for entry in entries) for town, entries in towns.items()
    }
    lines = [plain(f"“{ranking.text}”")]
    for town in sorted(towns, key=lambda town: -share[town])[:most]:
        entries = towns[town]
        likely = f"{share[town]:8.3%}" if share[town] else f"{entries[0].similarity:6.3f}"
        at = entries[0].location
        lines.append(plain(f"  {likely}  {at.lat:9.4f} {at.lon:10.4f}  {town}"))
    return "\n".join([*lines, f"  by {plan.locator}: {_searched(plan)}"])


def _made_by(plan: Plan) -> dict[str, str | None]:
    gallery = plan.gallery
    names = (gallery.encoder_name, gallery.name) if gallery else (None, None)
    return {"locator": plan.locator, "encoder": names[0], "gallery": names[1]}


def _searched(plan: Plan) -> str:
    return f"gallery {plan.gallery.name} of {plan.gallery.rows:,}" if plan.gallery else ""


def as_json(guess: Guess, plan: Plan) -> str:
    """One JSON object in one line."""
    place = place_at(guess.location) if guess.location else None
    record = {**guess_record(guess), "place": asdict(place) if place else None, **_made_by(plan)}
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def for_people(guess: Guess, plan: Plan, explain: bool) -> str:
    """A few lines; with `explain` the evidence below them."""
    if guess.location is None:
        text = plain(f"{guess.photo.path}: {_FAILURES[guess.status]}: {guess.detail}")
    else:
        text = "\n".join(
            [
                plain(str(guess.photo.path)),
                *(f"  {line}" for line in _answer(guess, guess.location, plan)),
            ]
        )
    return "\n".join([text, *map(plain, _evidence(guess))]) if explain else text


def _answer(guess: Guess, at: Location, plan: Plan) -> list[str]:
    where = f"{at.lat:.4f}, {at.lon:.4f}"
    place = place_at(at)
    named = _place(place) if place else "far from any town"
    radius = guess.radius_km
    zoom = (
        13
        if radius is None or radius <= 5
        else 10
        if radius <= 50
        else 6
        if radius <= COUNTRY_KM
        else 3
    )
    lines = [named, where if radius is None else f"{where}  (within about {_km(radius)})"]
    if radius is not None and radius > COUNTRY_KM:
        lines = [
            (
                f"Unsure: the evidence scatters over {_km(radius)}. The best guess, not to be"
                " relied on:"
            ),
            f"  {named}",
            f"  {where}",
        ]
    return [
        *lines,
        f"https://www.openstreetmap.org/?mlat={at.lat:.5f}&mlon={at.lon:.5f}#map={zoom}/{at.lat:.4f}/{at.lon:.4f}",
        "; ".join(filter(None, (f"by {plan.locator}: {guess.detail}", _searched(plan)))),
    ]


def _evidence(guess: Guess) -> Iterator[str]:
    for title, entries in (
        ("nearest", guess.neighbours.nearest),
        ("farthest", guess.neighbours.farthest),
    ):
        if entries:
            yield f"  {title}:"
            yield from _table(entries)
    for words in dict.fromkeys(guess.prompts):
        yield "  prompt:"
        yield from (f"    {line}" for line in words.splitlines())
    for reply in guess.replies:
        yield (
            f"  reply of {reply.model}"
            f" ({reply.status}{': ' + reply.detail if reply.detail else ''}):"
        )
        yield from (f"    {line}" for line in reply.text.splitlines())


def _table(entries: Sequence[Neighbour]) -> Iterator[str]:
    for entry in entries:
        named = entry.label or entry.id
        named = named if len(named) <= 40 else f"{named[:39]}…"
        likely = "" if entry.probability is None else f"  {entry.probability:7.3%}"
        yield (
            f"    {entry.similarity:6.3f}{likely}  {entry.location.lat:9.4f}"
            f" {entry.location.lon:10.4f}  {named}"
        )


def _place(place: Place) -> str:
    parts = [place.name, place.region, place.country]
    named = ", ".join(
        part for part, before in zip(parts, ["", *parts], strict=False) if part and part != before
    )
    return named if place.distance_km < 5 else f"{_km(place.distance_km)} from {named}"


def _km(distance: float) -> str:
    if distance >= 100:
        return f"{round(distance, -1):,.0f} km"
    return f"{distance:.0f} km"
