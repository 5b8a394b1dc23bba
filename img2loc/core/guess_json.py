"""A Guess ↔ JSON: `ask --json` prints it, a run folder keeps it, replays and reports read it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from img2loc.core.types import Guess, Neighbour, Reply, Step, Usage


def guess_record(guess: Guess) -> dict[str, Any]:
    """A guess with its evidence; lat and lon in WGS84 degrees, None where there is no answer."""
    at = guess.location
    return {
        "photo": str(guess.photo.path),
        "status": guess.status,
        "lat": at.lat if at else None,
        "lon": at.lon if at else None,
        "radius_km": guess.radius_km,
        "radius_share": guess.radius_share,
        "spread_km": guess.spread_km,
        "best": {"lat": guess.best.lat, "lon": guess.best.lon} if guess.best else None,
        "nearest": [neighbour_record(entry) for entry in guess.neighbours.nearest],
        "farthest": [neighbour_record(entry) for entry in guess.neighbours.farthest],
        "prompts": list(guess.prompts),
        "replies": [asdict(reply) for reply in guess.replies],
        "repairs": guess.repairs,
        "detail": guess.detail,
        **({"steps": [step_record(step) for step in guess.steps]} if guess.steps else {}),
    }


def step_record(step: Step) -> dict[str, Any]:
    """A call of a tool: its arguments and its result, word for word."""
    return {
        "tool": step.tool,
        "arguments": dict(step.arguments),
        "result": step.result,
        "points": [{"lat": at.lat, "lon": at.lon} for at in step.points],
    }


def neighbour_record(neighbour: Neighbour) -> dict[str, Any]:
    """A neighbour; with its probability only where the gallery defines one."""
    at = neighbour.location
    record: dict[str, Any] = {
        "lat": at.lat,
        "lon": at.lon,
        "similarity": neighbour.similarity,
        "id": neighbour.id,
        "label": neighbour.label,
    }
    if neighbour.probability is not None:
        record["probability"] = neighbour.probability
    return record


def reply_from(record: Mapping[str, Any]) -> Reply:
    """The reply of a record. Raises KeyError or TypeError for anything else."""
    usage = Usage(**record["usage"]) if record.get("usage") else None
    return Reply(
        record["text"], record["model"], record["status"], usage, record["detail"], record["key"]
    )
