"""How often an LMM is right where another agrees with it, and where it does not.

Run: python benchmarks/agreement.py REPLIES [--of gpt-5] [--beside qwen3-vl-235b].
REPLIES has geobench-truth.csv (id, lat, lon) and geobench-MODEL.jsonl (id, reply), as
Thinking-with-Map published them (AMAP-ML, Apache-2.0).
"""

import argparse
import csv
import json
from pathlib import Path

from img2loc import parse_location
from img2loc.core.geo import distance_km
from img2loc.core.types import Location

_CITY_KM = 25.0


def main() -> None:
    """Print the two shares."""
    parser = argparse.ArgumentParser(description="How often an LMM is right where another agrees.")
    parser.add_argument("replies", type=Path)
    parser.add_argument("--of", default="gpt-5")
    parser.add_argument("--beside", default="qwen3-vl-235b")
    options = parser.parse_args()
    with (options.replies / "geobench-truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {
            row["id"]: Location(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(file)
        }
    answers, others = (_answers(options.replies, name) for name in (options.of, options.beside))
    right: dict[bool, list[bool]] = {True: [], False: []}
    for name, at in truth.items():
        answer, other = answers.get(name), others.get(name)
        agree = answer is not None and other is not None and distance_km(answer, other) <= _CITY_KM
        right[agree].append(answer is not None and distance_km(answer, at) <= _CITY_KM)
    for agree, hits in right.items():
        share = 100 * sum(hits) / len(hits)
        words = "agrees" if agree else "does not agree"
        print(f"{options.beside} {words}: {len(hits)} photos, {options.of} right for {share:.1f} %")


def _answers(folder: Path, model: str) -> dict[str, Location | None]:
    lines = (folder / f"geobench-{model}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return {str(row["id"]): parse_location(row["reply"]) for row in rows}


if __name__ == "__main__":
    main()
