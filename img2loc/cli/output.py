"""Guesses → what a person reads, or a line of JSON."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from img2loc.cli.stdio import plain
from img2loc.config.plan import Plan
from img2loc.core.geo import COUNTRY_KM
from img2loc.core.guess_json import guess_record, neighbour_record
from img2loc.core.places import place_at, region_within
from img2loc.core.types import Guess, Location, Neighbour, Place
from img2loc.locators.text_search import Ranking

_FAILURES = {
    "unreadable": "cannot be read",
    "refused": "the model declined to answer",
    "unparsed": "no coordinates in the model's reply",
    "failed": "the model could not be asked",
    "unsure": "unsure",
}
_ANYWHERE_KM = 10_000.0
"""A circle of this radius is half the Earth."""
_ZOOMS = ((5, 13), (50, 10), (COUNTRY_KM, 6))
"""Up to a radius in km: the zoom of the map."""


def ranking_as_json(ranking: Ranking, plan: Plan) -> str:
    """A text's ranking as a JSON object in one line."""
    best = ranking.nearest[0].location
    density = ranking.density
    cells = (
        None
        if density is None
        else [
            {"lat": lat, "lon": lon, "probability": float(f"{p:.6g}")}
            for lat, lon, p in density.tolist()
        ]
    )
    record = {
        "text": ranking.text,
        "lat": best.lat,
        "lon": best.lon,
        "place": _place_record(best),
        "nearest": [neighbour_record(near) for near in ranking.nearest],
        "density": cells,
        **_parts(plan),
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def ranking_for_people(ranking: Ranking, plan: Plan, most: int) -> str:
    """A text and its towns, best first; the probabilities of entries near one town are added up."""
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
        best = towns[town][0]
        likely = f"{share[town]:8.3%}" if share[town] else f"{best.similarity:6.3f}"
        lines.append(plain(f"  {likely}  {_columns(best.location)}  {town}"))
    return "\n".join([*lines, f"  by {plan.locator}: {_searched(plan)}"])


def as_json(guess: Guess, plan: Plan) -> str:
    """A guess as a JSON object in one line."""
    at, radius = guess.location, guess.radius_km
    record = {
        **guess_record(guess),
        "place": _place_record(at) if at else None,
        "region": region_within(at, radius) if at and radius is not None else None,
        **_parts(plan),
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def for_people(guess: Guess, plan: Plan, explain: bool) -> str:
    """A guess in a few lines; with `explain` the evidence below them."""
    if guess.location is None:
        lines = [f"{guess.photo.path}: {_FAILURES[guess.status]}: {guess.detail}"]
    else:
        answer = _answer(guess, guess.location, plan)
        lines = [str(guess.photo.path), *(f"  {line}" for line in answer)]
    return "\n".join(map(plain, [*lines, *(_evidence(guess) if explain else ())]))


def _place_record(at: Location) -> dict[str, object] | None:
    place = place_at(at)
    return asdict(place) if place else None


def _parts(plan: Plan) -> dict[str, str | None]:
    gallery = plan.gallery
    names = (gallery.encoder_name, gallery.name) if gallery else (None, None)
    return {"locator": plan.locator, "encoder": names[0], "gallery": names[1]}


def _searched(plan: Plan) -> str:
    return f"gallery {plan.gallery.name} of {plan.gallery.rows:,}" if plan.gallery else ""


def _answer(guess: Guess, at: Location, plan: Plan) -> Iterator[str]:
    where = f"{at.lat:.4f}, {at.lon:.4f}"
    place = place_at(at)
    named = _place(place) if place else "far from any town"
    known = guess.radius_km if guess.radius_km is not None else guess.spread_km
    if known is not None and known > COUNTRY_KM:
        vague = f"the evidence scatters over {_km(known)}"
        if guess.radius_share is not None:
            vague = f"{guess.radius_share:.0%} of such photos lie within {_km(known)} only"
            if known > _ANYWHERE_KM:
                vague = "such photos can be anywhere"
        yield f"Unsure: {vague}. Not to be relied on:"
        yield f"  {named}"
        yield f"  {where}"
    else:
        yield named
        yield f"{where}{_certainty(guess)}"
        if guess.radius_km is not None and (region := region_within(at, guess.radius_km)):
            yield f"in {region} ({guess.radius_share:.0%})"
    zoom = next((zoom for most, zoom in _ZOOMS if (known or 0) <= most), 3)
    yield (
        f"https://www.openstreetmap.org/?mlat={at.lat:.5f}&mlon={at.lon:.5f}"
        f"#map={zoom}/{at.lat:.4f}/{at.lon:.4f}"
    )
    yield "; ".join(filter(None, (f"by {plan.locator}: {guess.detail}", _searched(plan))))


def _certainty(guess: Guess) -> str:
    """What is known of an answer's error: a promise, or how far the evidence scatters."""
    if guess.radius_km is not None and guess.radius_share is not None:
        return f"  (within {_km(guess.radius_km)} for {guess.radius_share:.0%} of such photos)"
    if guess.spread_km is not None:
        return f"  (spread {_km(guess.spread_km)}; no radius is known)"
    return ""


def _evidence(guess: Guess) -> Iterator[str]:
    sides = {"nearest": guess.neighbours.nearest, "farthest": guess.neighbours.farthest}
    for title, entries in sides.items():
        if entries:
            yield f"  {title}:"
            yield from _table(entries)
    for number, step in enumerate(guess.steps, 1):
        given = json.dumps(dict(step.arguments), ensure_ascii=False)
        yield f"  {number}. {step.tool} {given}"
        yield from (f"    {line}" for line in step.result.splitlines())
    # An agent's prompts repeat what is above them.
    for words in dict.fromkeys(() if guess.steps else guess.prompts):
        yield "  prompt:"
        yield from (f"    {line}" for line in words.splitlines())
    for reply in guess.replies:
        detail = f": {reply.detail}" if reply.detail else ""
        yield f"  reply of {reply.model} ({reply.status}{detail}):"
        yield from (f"    {line}" for line in reply.text.splitlines())


def _table(entries: Sequence[Neighbour]) -> Iterator[str]:
    for entry in entries:
        named = entry.label or entry.id
        named = named if len(named) <= 40 else f"{named[:39]}…"
        likely = "" if entry.probability is None else f"  {entry.probability:7.3%}"
        yield f"    {entry.similarity:6.3f}{likely}  {_columns(entry.location)}  {named}"


def _columns(at: Location) -> str:
    return f"{at.lat:9.4f} {at.lon:10.4f}"


def _place(place: Place) -> str:
    parts = [place.name, place.region, place.country]
    named = ", ".join(
        part for part, before in zip(parts, ["", *parts], strict=False) if part and part != before
    )
    return named if place.distance_km < 5 else f"{_km(place.distance_km)} from {named}"


def _km(distance: float) -> str:
    return f"{round(distance, -1 if distance >= 100 else 0):,.0f} km"
