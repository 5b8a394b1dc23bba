"""`benchmark()`: a truth CSV with toy photographs; `lines()`: the predictions of its run."""

import json
from pathlib import Path
from typing import Any

from tests.conftest import picture

PLACES = [(48.8584, 2.2945), (51.5007, -0.1246), (40.6892, -74.0445), (-33.8568, 151.2153)]


def benchmark(folder: Path, number: int, first: int = 100) -> Path:
    """A truth CSV over `number` toy photographs beside it, taken by one person for every three."""
    folder.mkdir(parents=True)
    rows = []
    for seed in range(first, first + number):
        picture(seed, (24, 16)).save(folder / f"{seed}.jpg")
        lat, lon = PLACES[seed % 4]
        rows.append(f"{seed}.jpg,{lat},{lon},person{seed // 3}")
    (folder / "truth.csv").write_text("file,lat,lon,author\n" + "\n".join(rows) + "\n")
    return folder / "truth.csv"


def lines(run: Path) -> list[dict[str, Any]]:
    """The predictions of a run, ordered by id, without the seconds that each took."""
    records = [
        json.loads(line)
        for line in (run / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    return sorted(({**line, "seconds": None} for line in records), key=lambda line: str(line["id"]))
