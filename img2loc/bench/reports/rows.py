"""What a report is made of: scored runs, and the rows of its main table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from img2loc.bench.runs.run_folder import Run
from img2loc.bench.scores.outcomes import Outcomes
from img2loc.bench.scores.score import Scores


@dataclass(frozen=True, slots=True)
class Scored:
    """A run, its outcomes under the name that the report gives it, and its scores."""

    run: Run
    outcomes: Outcomes
    scores: Scores

    @property
    def benchmark(self) -> str:
        """The benchmark's name."""
        return str(self.run.about.get("benchmark") or "")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the main table: a run of ours, or a published one."""

    name: str
    benchmark: str
    whose: str
    accuracy: Mapping[str, float | None]
    interval: Mapping[str, Sequence[float] | None]
    n: int | None
    answered_share: float | None
    source: str
    protocol: str
    differs: tuple[str, ...]


def flags_of(rows: Sequence[Row]) -> list[str]:
    """Where the rows differ from our protocol, each once: the notes below the table."""
    return list(dict.fromkeys(flag for row in rows for flag in row.differs))
