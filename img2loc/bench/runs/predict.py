"""A locator over a benchmark's photographs → the lines of a run's predictions, one by one."""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, Self

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.datasets.leakage import Leaks
from img2loc.bench.datasets.photo_folder import PhotoFolder
from img2loc.bench.runs.run_folder import Run, Writer
from img2loc.core.errors import BackendError, RunError
from img2loc.core.geo import distance_km
from img2loc.core.guess_json import guess_record
from img2loc.core.protocols import Locator
from img2loc.core.types import Guess, Location, Photo

CITY_KM = 25.0
AGAIN = ("failed", "unreadable")
"""What `retry_failed` asks for again: the LMM failed, or the photograph could not be read."""
_MIN_PAID = 10
"""Photographs after which their mean cost is a better estimate than the rule of thumb."""


@dataclass(slots=True)
class Tally:
    """How a run stands: how many photographs are done, answered, within 25 km, failed, paid for.

    Replies out of the cache are not paid for. `repaired` were answered on a second try.
    """

    total: int
    done: int = 0
    answered: int = 0
    within_city: int = 0
    failed: int = 0
    repaired: int = 0
    paid: int = 0
    cost_usd: float = 0.0

    @classmethod
    def of(cls, run: Run, remaining: Collection[Truth] = ()) -> Self:
        """How a run stands, less the photographs in `remaining`; all its lines stay paid for."""
        tally, again = cls(len(run.truth)), {truth.id for truth in remaining}
        for truth in run.truth:
            if truth.id not in again and (line := run.predictions.get(truth.id)) is not None:
                tally.count(line, truth.location)
        tally.cost_usd = run.spent_usd
        return tally

    def count(self, record: dict[str, Any], truth: Location) -> None:
        """Add one line of the run."""
        self.done += 1
        self.failed += record["status"] == "failed"
        self.paid += bool(record["cost_usd"])
        self.cost_usd += record["cost_usd"] or 0.0
        if record["lat"] is not None:
            self.answered += 1
            self.repaired += bool(record.get("repairs"))
            self.within_city += (
                distance_km(Location(record["lat"], record["lon"]), truth) <= CITY_KM
            )


def pending(run: Run, retry_failed: bool = False) -> list[Truth]:
    """The photographs of a run that are still to be asked for."""
    again = AGAIN if retry_failed else ()
    return [
        truth
        for truth in run.truth
        if (line := run.predictions.get(truth.id)) is None or line["status"] in again
    ]


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may cost in US dollars (None: no limit), and what a photograph should cost."""

    max_usd: float | None = None
    usd_per_photo: float = 0.0

    def allows(self, photos: int, tally: Tally) -> bool:
        """Whether so many photographs more stay within the limit, by what earlier ones cost."""
        if self.max_usd is None:
            return True
        mean = tally.cost_usd / tally.paid if tally.paid else 0.0
        each = mean if tally.paid >= _MIN_PAID else max(mean, self.usd_per_photo)
        return tally.cost_usd + photos * each <= self.max_usd


def predict(
    run: Writer,
    locator: Locator,
    photo_folder: PhotoFolder,
    leaks: Leaks | None = None,
    *,
    exclude: bool = True,
    retry_failed: bool = False,
    budget: Budget = Budget(),
    progress: Callable[[Tally], None] = lambda tally: None,
) -> Tally:
    """Locate the pending photographs of a run, each written before the next is waited for.

    A line's `seconds` is the time since the line before it, so that their sum is the run's. No
    photograph is begun that might exceed the budget. Raises BackendError when the LMM will answer
    no more, RunError when the folder cannot be written.
    """
    remaining = pending(run, retry_failed)
    tally = Tally.of(run, remaining)
    progress(tally)
    upcoming = deque(remaining)
    in_flight: deque[Truth] = deque()
    new: list[str] = []

    def photos() -> Iterator[Photo]:
        while upcoming and budget.allows(len(in_flight) + 1, tally):
            in_flight.append(upcoming.popleft())
            yield Photo(photo_folder.path(in_flight[-1]))

    clock = time.monotonic()
    while upcoming and budget.allows(1, tally):
        before = len(new)
        try:
            for guess in locator.locate(photos()):
                truth = in_flight.popleft()
                now = time.monotonic()
                record = prediction_record(truth, guess, now - clock)
                if leaks is not None:
                    record["excluded"] = leaks.excluded(truth) if exclude else None
                    record["photographer_checked"] = exclude and leaks.photographer_checked(truth)
                clock = now
                run.append(record)
                new.append(truth.id)
                tally.count(record, truth.location)
                progress(tally)
        except BackendError as error:
            # Photographs that met this error, or were not sent because of it, are not done.
            run.forget([name for name in new if _failed_by(run.predictions[name], str(error))])
            raise
        if in_flight or len(new) == before:
            raise RunError(
                f"The locator gave {len(new) - before} guesses for"
                f" {len(new) - before + len(in_flight)} photos. Mend its locate()."
            )
    return tally


def prediction_record(truth: Truth, guess: Guess, seconds: float) -> dict[str, Any]:
    """A line of predictions.jsonl: all that is needed to score, audit and parse the reply again."""
    usages = [reply.usage for reply in guess.replies if reply.usage is not None]
    costs = [
        reply.usage.cost_usd if reply.usage else None
        for reply in guess.replies
        if reply.usage or reply.status != "failed"
    ]
    return {
        "id": truth.id,
        **guess_record(guess),
        "seconds": round(seconds, 3),
        "input_tokens": sum(usage.input_tokens for usage in usages),
        "output_tokens": sum(usage.output_tokens for usage in usages),
        "cost_usd": (
            None if None in costs else sum((cost for cost in costs if cost is not None), 0.0)
        ),
        "top_similarity": max(
            (entry.similarity for entry in guess.neighbours.nearest), default=None
        ),
        "excluded": None,
        "photographer_checked": False,
    }


def _failed_by(record: dict[str, Any], error: str) -> bool:
    return record["status"] == "failed" and any(
        reply["detail"] == error for reply in record["replies"]
    )
