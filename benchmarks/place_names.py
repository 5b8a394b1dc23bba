"""How near the gazetteer places the cities that LMMs name, beside the coordinates they give.

    python benchmarks/place_names.py TRUTH.csv REPLIES.jsonl …

TRUTH.csv has id, lat and lon; a line of REPLIES.jsonl is {"id": …, "reply": …}; a reply ends
in an object with "city", "country" and coordinates, as those to GeoBench do.
"""

import csv
import json
import re
import sys
from pathlib import Path

import numpy as np

from img2loc import Location, parse_location
from img2loc.core.gazetteer import named_location
from img2loc.core.geo import distance_km, hits

_NAMED = re.compile(r'"city"\s*:\s*"?([^"\n}]*)"?,\s*"country"\s*:\s*"?([^"\n}]*)')


def main(truth_file: str, *reply_files: str) -> None:
    """Print a line for each file: photos, and per cent within 1, 25, 200, 750 and 2500 km."""
    with Path(truth_file).open(encoding="utf-8", newline="") as file:
        truth = {
            row["id"]: Location(float(row["lat"]), float(row["lon"]))
            for row in csv.DictReader(file)
        }
    for name in reply_files:
        pairs = []
        for line in Path(name).read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            named = _NAMED.search(record["reply"])
            by_name = named_location(f"{named[1]}, {named[2]}") if named else None
            by_numbers = parse_location(record["reply"])
            if by_name and by_numbers:
                there = truth[str(record["id"])]
                pairs.append([distance_km(by_name, there), distance_km(by_numbers, there)])
        by_name_km, by_numbers_km = zip(*pairs, strict=True)
        for what, errors in (("name", by_name_km), ("coordinates", by_numbers_km)):
            shares = 100 * hits(np.array(errors)).mean(axis=0)
            print(f"{Path(name).stem:32} {len(pairs):4}  {what:11}", *(f"{s:5.1f}" for s in shares))


if __name__ == "__main__":
    main(*sys.argv[1:])
