"""A table of coordinates, or a grid over the Earth → Items: what a location tower embeds."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Location, Rejected
from img2loc.data.items import BLOCK
from img2loc.data.tables import known_names, open_table


class PointsSource:
    """Rows of a CSV or Parquet file of coordinates, with or without ids and labels.

    With `sample`, so many rows drawn at random (always the same), in the file's order. Raises
    SourceError.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, str] | None = None, sample: int | None = None
    ) -> None:
        self.path = path
        roles = known_names("lat", "lon", "id", "label")
        self._table = open_table(path, ("lat", "lon"), roles, columns)
        self._sample = sample
        choices = json.dumps([sorted((columns or {}).items()), sample])
        self.fingerprint = self._table.fingerprint(choices)

    def __len__(self) -> int:
        """Rows that will be taken (a guide for progress)."""
        return len(self._table) if self._sample is None else min(self._sample, len(self._table))

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items and Rejected in the file's order; the default id is the row's number, from 0."""
        sampled = None
        if self._sample is not None:
            total = sum(1 for _ in self._table)
            sampled = set(random.Random(0).sample(range(total), min(self._sample, total)))
        for number, row in enumerate(self._table):
            if sampled is None or number in sampled:
                yield row if isinstance(row, Rejected) else _point(number, *row)


def _point(number: int, where: str, cells: Mapping[str, str]) -> Item | Rejected:
    item_id, lat, lon = cells.get("id") or str(number), cells["lat"], cells["lon"]
    try:
        return Item(item_id, Location(float(lat), float(lon)), label=cells.get("label", ""))
    except ValueError:
        return Rejected(item_id, f"{where}: no point on Earth: lat {lat!r}, lon {lon!r}")


class GridSource:
    """Points spread evenly over the sphere: a Fibonacci lattice, in which all have equal areas."""

    def __init__(self, points: int) -> None:
        if points < 1:
            raise SourceError(f"A grid needs 1 point or more, not {points}.")
        self.path = Path(f"grid-{points}")
        self.fingerprint = f"fibonacci-lattice-{points}"
        self._points = points

    def __len__(self) -> int:
        """Points."""
        return self._points

    def __iter__(self) -> Iterator[Item | Rejected]:
        """Items from south to north."""
        golden_angle = math.pi * (3 - math.sqrt(5))
        for start in range(0, self._points, BLOCK):
            numbers = np.arange(start, min(start + BLOCK, self._points))
            lats = np.degrees(np.arcsin(2 * (numbers + 0.5) / self._points - 1)).round(6)
            lons = (np.degrees(numbers * golden_angle) % 360 - 180).round(6)
            rows = zip(numbers.tolist(), lats.tolist(), lons.tolist(), strict=True)
            for number, lat, lon in rows:
                yield Item(str(number), Location(lat, lon))
