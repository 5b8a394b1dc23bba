"""Recorded replies, read again by today's parser: a better parser re-scores a paid run for free."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.bench.runs.run_folder import Run
from img2loc.core.errors import RunError, SourceError
from img2loc.core.geo import distance_km
from img2loc.core.guess_json import reply_from
from img2loc.core.types import Answer, Location, Neighbour, Reply
from img2loc.locators.conformal import FARTHEST_KM
from img2loc.locators.conversation import location_in, outcome
from img2loc.locators.spread import neighbours_spread_km

REPLY_DECIDES = ("img2loc", "zeroshot")
"""Kinds of locators that answer with the coordinates in the LMM's reply."""


@dataclass(frozen=True, slots=True)
class Reparsed:
    """A run whose lines hold what today's parser reads in their replies."""

    run: Run
    changes: Counter[str]
    """Photos whose answer was "gained", "lost" or "moved"; "same" and "without_reply"."""

    def note(self) -> str:
        """What changed, in a sentence."""
        counts = [f"{self.changes[kind]:,} {kind}" for kind in ("gained", "lost", "moved")]
        return (
            f"--reparse: answers {', '.join(counts)}; {self.changes['same']:,} photos as recorded,"
            f" and {self.changes['without_reply']:,} without a reply."
        )


def reparse(run: Run) -> Reparsed:
    """The run as today's parser would have left it; its folder is not touched.

    The first reply with coordinates (or a place, where the locator asks for one) is the answer. A
    new answer's spread is measured over the neighbours that were recorded. Raises RunError for a
    locator that decides in another way, and for a line whose replies are not as `bench run` writes
    them.
    """
    table = (run.about.get("config") or {}).get("locator") or {}
    if table.get("kind") not in REPLY_DECIDES:
        raise RunError(
            f"The locator {run.about.get('locator')} of {run.folder} does not answer with what one"
            " reply says, so that parsing again is not enough. Run it again with the LMM `replay`"
            " over its predictions.jsonl, which costs nothing."
        )
    predictions, changes = {}, Counter[str]()
    for name, record in run.predictions.items():
        try:
            predictions[name] = _read_again(record, table.get("answer", "coordinates"))
        except (KeyError, TypeError) as error:
            raise RunError(
                f"The replies of {name} in {run.folder} cannot be read ({error!r})."
            ) from error
        changes[_change(record, predictions[name])] += 1
    return Reparsed(replace(run, predictions=predictions), changes)


def lmm_errors_km(run: Run) -> dict[str, float]:
    """Each LMM's own median error, of a run that asked several; empty for another.

    By the first place in its replies to each photograph; those with a repair turn are left out, and
    a reply without a place counts as the farthest away.
    """
    config = run.about.get("config")
    names = list((config.get("lmms") or {}) if isinstance(config, dict) else {})
    errors: dict[str, list[float]] = {name: [] for name in names}
    for truth in run.truth:
        record = run.predictions.get(truth.id) or {}
        replies = record.get("replies") or []
        each, rest = divmod(len(replies), max(1, len(names)))
        if not each or rest or record.get("repairs"):
            continue
        for number, name in enumerate(names):
            try:
                own = list(map(reply_from, replies[number * each : (number + 1) * each]))
            except (KeyError, TypeError) as error:
                raise RunError(
                    f"A reply to {truth.id} in the run {run.folder} is damaged ({error!r}). Delete"
                    " its line: its photo is asked for again."
                ) from error
            places = (at for reply in own if (at := location_in(reply)) is not None)
            at = next(places, None)
            errors[name].append(FARTHEST_KM if at is None else distance_km(at, truth.location))
    return {name: float(np.median(own)) for name, own in errors.items() if own}


def _read_again(record: Mapping[str, Any], answer: Answer) -> dict[str, Any]:
    replies = [reply_from(reply) for reply in record.get("replies") or ()]
    if not replies:
        return dict(record)  # An unreadable photo: the LMM was not asked.
    # A second turn that failed leaves the first reply as it was.
    heard = [reply for reply in replies if reply.status != "failed"] or replies
    readings = [(reply, location_in(reply, answer)) for reply in heard]
    reply, at = next((pair for pair in readings if pair[1] is not None), readings[-1])
    status, detail = outcome(reply, at, answer)
    again = {
        **record,
        "status": status,
        "detail": detail,
        "lat": at.lat if at else None,
        "lon": at.lon if at else None,
    }
    if _place(again) != _place(record):
        again["radius_km"] = again["radius_share"] = None  # They were the other place's.
        again["spread_km"] = neighbours_spread_km(at, _nearest(record)) if at else None
    return again


def _nearest(record: Mapping[str, Any]) -> list[Neighbour]:
    return [
        Neighbour(Location(near["lat"], near["lon"]), near["similarity"], near["id"], near["label"])
        for near in record.get("nearest") or ()
    ]


def _place(record: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Latitude and longitude, or None where there is no answer."""
    return (record["lat"], record["lon"]) if record["status"] == "located" else None


def _change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if not before.get("replies"):
        return "without_reply"
    places = _place(before), _place(after)
    if places[0] == places[1]:
        return "same"
    if None in places:
        return "lost" if places[0] else "gained"
    return "moved"


def reply_rows(path: Path) -> Iterator[dict[str, str]]:
    """Lines {"id": …, "reply": …} → rows of a predictions table, as today's parser reads them.

    `reply` is an LMM's reply word for word, or null where there was none. Raises SourceError.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").rstrip("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read ({error}). Name a file of replies.") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name, text = entry["id"], entry["reply"]
            if not isinstance(name, str | int) or not isinstance(text, str | None):
                raise TypeError("id is a text or a number, reply a text")
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(
                f"{path}, line {number} has no id and reply ({error!r}). Write one JSON object a"
                ' line: {"id": "1.jpg", "reply": "…"}. A run is scored by its folder.'
            ) from error
        reply = Reply(text or "", "", "failed" if text is None else "answered")
        at = location_in(reply)
        status, _ = outcome(reply, at)
        point = {"lat": repr(at.lat), "lon": repr(at.lon)} if at else {"lat": "", "lon": ""}
        yield {"id": str(name), "status": status, **point}
