"""How often retrieval is right, and how honest its radius is, on photographs whose place is known.

Run: python benchmarks/retrieval.py GALLERY.csv QUERIES.csv [--locator retrieval] [--encoder lite0].
Both files have the columns file, lat, lon (or any usual names). A photograph without an answer
counts as wrong.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

import img2loc
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.core.geo import COUNTRY_KM, distance_km
from img2loc.core.types import Item
from img2loc.data.csv_source import CsvSource
from img2loc.gallery.build import pipeline


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
        guesses = list(
            img2loc.load(options.locator, gallery=folder).locate(query.photo for query in queries)
        )
    errors = [
        distance_km(g.location, q.location) if g.location else float("inf")
        for g, q in zip(guesses, queries, strict=True)
    ]
    radii = [guess.radius_km if guess.radius_km is not None else float("inf") for guess in guesses]
    pairs = list(zip(errors, radii, strict=True))
    print(f"{options.locator} with {options.encoder}: {len(queries)} photographs")
    for threshold in (1, 25, 200, 750, 2500):
        print(
            f"  within {threshold:5} km          {_share(error <= threshold for error in errors)}"
        )
    print(f"  within its radius        {_share(error <= radius for error, radius in pairs)}")
    print(
        f"  sure (radius ≤ {COUNTRY_KM:.0f} km)  "
        f" {_share(radius <= COUNTRY_KM for radius in radii)}"
    )
    print(
        "  sure and wrong by more  "
        f" {_share(radius <= COUNTRY_KM < error for error, radius in pairs)}"
    )


def _share(hits: Iterable[bool]) -> str:
    counted = list(hits)
    return f"{100 * sum(counted) / len(counted):5.1f} %"


if __name__ == "__main__":
    main()
