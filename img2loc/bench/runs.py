"""A run folder: run.json, truth.csv and predictions.jsonl."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from img2loc.bench.truth import Truth
from img2loc.errors import SourceError, first_line
from img2loc.types import Location, Photo


@dataclass(frozen=True, slots=True)
class Run:
    """What was run, over which photographs, and what came out; the last prediction of an id counts."""

    folder: Path
    about: dict[str, Any]
    truth: list[Truth]
    predictions: dict[str, dict[str, Any]]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a run folder; a torn last line is passed over. Raises SourceError."""
        try:
            about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            with (folder / "truth.csv").open(encoding="utf-8", newline="") as file:
                truth = [
                    Truth(
                        row["id"], Location(float(row["lat"]), float(row["lon"])), row.get("author") or "", Photo(Path(row["id"]))
                    )
                    for row in csv.DictReader(file)
                ]
            path = folder / "predictions.jsonl"
            lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.exists() else []
            records = [json.loads(line) for line in lines]
        except (OSError, ValueError, KeyError) as error:
            raise SourceError(
                f"{folder} is no run that can be read ({first_line(error)}). Name a folder of `bench run`."
            ) from error
        return cls(folder, about, truth, {record["id"]: record for record in records})
