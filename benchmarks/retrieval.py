"""How often retrieval is right, and how honest its radius is, on photographs whose place is known.

Run: python benchmarks/retrieval.py GALLERY.csv QUERIES.csv [--locator retrieval] [--encoder lite0].
Both files have the columns file, lat, lon (or any usual names). A photograph without an answer
counts as wrong. The radius is calibrated on the gallery's own rows.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import img2loc
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.row_calibration import calibrate_rows
from img2loc.core.geo import COUNTRY_KM, distance_km
from img2loc.core.types import Item
from img2loc.data.csv_source import CsvSource
from img2loc.gallery.build import pipeline
from img2loc.locators.radius import evidence_of


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description="How often retrieval is right, and how honest its radius is."
    )
    parser.add_argument("gallery", type=Path)
    parser.add_argument("queries", type=Path)
    parser.add_argument("--locator", default="retrieval")
    parser.add_argument("--encoder", default="lite0")
    options = parser.parse_args()
    config = Config.load()
    queries = [entry for entry in CsvSource(options.queries) if isinstance(entry, Item)]
    with tempfile.TemporaryDirectory() as folder:
        encoder = factory.encoder(config, options.encoder)
        table = config.table("encoder", options.encoder)
        pipeline.build(
            CsvSource(options.gallery), encoder, Path(folder), alias=options.encoder, table=table
        )
        known = calibrate_rows(config, folder, options.locator)
        guesses = list(
            img2loc.load(options.locator, gallery=folder).locate(query.photo for query in queries)
        )
    errors = [
        distance_km(g.location, q.location) if g.location else float("inf")
        for g, q in zip(guesses, queries, strict=True)
    ]
    print(f"{options.locator} with {options.encoder}: {len(queries)} photographs")
    for threshold in (1, 25, 200, 750, 2500):
        print(
            f"  within {threshold:5} km          {_share(error <= threshold for error in errors)}"
        )
    evidence = evidence_of(guesses)
    print("  spread alone")
    _say(errors, evidence.spread_km.tolist())
    print(f"  radius by {known.photos} rows, {known.clusters} {known.counted}")
    for share in known.shares:
        print(f"   for {share:.0%}")
        _say(errors, known.radius_km(evidence, share).tolist())


def _say(errors: list[float], radii: list[float]) -> None:
    pairs = list(zip(errors, radii, strict=True))
    rows = {
        "holds the truth": [error <= radius for error, radius in pairs],
        f"sure (≤ {COUNTRY_KM:.0f} km)": [radius <= COUNTRY_KM for radius in radii],
        "sure and wrong by more": [radius <= COUNTRY_KM < error for error, radius in pairs],
    }
    for words, hits in rows.items():
        print(f"    {words:<23} {_share(hits)}  ({sum(hits)})")


def _share(hits: Iterable[bool]) -> str:
    counted = list(hits)
    return f"{100 * sum(counted) / len(counted):5.1f} %"


if __name__ == "__main__":
    main()
