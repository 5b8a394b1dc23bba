"""A location → the nearest town, region and country, offline, from GeoNames (index/places)."""

import tomllib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core import paths
from img2loc.core.geo import EARTH_RADIUS_KM, Array, degrees, disk, distances_km, unit_vectors
from img2loc.core.types import Location, Place

FARTHEST_TOWN_KM = 100.0
"""Beyond this the nearest town says nothing about a place (mid-ocean, ice, desert)."""
_LARGEST_KM = 5000.0
_POINTS = 100
_MOST = 0.9
_AT_ONCE = 2048  # Points whose distances to every town around them are in memory.


def place_at(location: Location) -> Place | None:
    """The town nearest to a location, or None when the nearest is more than 100 km away."""
    rows, distances = _nearest(degrees([location]))
    if rows[0] < 0:
        return None
    table = _towns().table
    name, region, country, code = (
        table[column][int(rows[0])].as_py()
        for column in ("name", "region", "country", "country_code")
    )
    return Place(name, region, country, code, round(float(distances[0]), 1))


def region_within(location: Location, radius_km: float) -> str | None:
    """The smallest town, region, country or continent that such a circle lies in, in words.

    It lies in the one that is nearest to nine in ten of the points all over it, by the nearest
    town; those over 100 km from any town do not count. None where there is no such one.
    """
    if radius_km > _LARGEST_KM:
        return None
    rows, _ = _nearest(disk(location, radius_km, _POINTS))
    rows, names = rows[rows >= 0], ("name", "region", "country", "country_code")
    if not len(rows):
        return None
    table = _towns().table
    town, region, country, code = (table[name][int(rows[0])].as_py() for name in names)
    most = _MOST * len(rows)
    if (rows == rows[0]).sum() >= most:
        return _joined(town, region, country)
    same_country = _are("country_code", rows, code)
    if (same_country & _are("region", rows, region)).sum() >= most:
        return _joined(region, country)
    if same_country.sum() >= most:
        return str(country)
    here = continents().get(code)
    countries = [one for one, name in continents().items() if name == here]
    same_continent = _are("country_code", rows, *countries)
    return here if here is not None and same_continent.sum() >= most else None


def _are(column: str, rows: NDArray[np.int64], *names: str) -> NDArray[np.bool_]:
    """Which of some towns have one of these names in a column of few names."""
    codes = _towns().table[column].chunk(0)
    known = np.array([name in names for name in codes.dictionary.to_pylist()])
    return np.asarray(known[_numbers(codes.indices)[rows]])


def _joined(*names: str) -> str:
    """Names from small to large, each once."""
    return ", ".join(dict.fromkeys(filter(None, names)))


def town_table() -> Any:
    """All towns: an Arrow table of lat_e5, lon_e5, name, region, country and country_code."""
    return _towns().table


def country_codes(points: Array) -> list[str]:
    """ISO country codes of the nearest towns to rows of (lat, lon) degrees; "??" over 100 km."""
    rows, _ = _nearest(points)
    codes = _towns().table["country_code"].chunk(0)
    names, numbers = [*codes.dictionary.to_pylist(), "??"], _numbers(codes.indices)
    return [names[number] for number in np.where(rows < 0, len(names) - 1, numbers[rows])]


@cache
def continents() -> dict[str, str]:
    """Country code → continent, from eval/reference/continents.toml."""
    text = (paths.folder("eval") / "reference" / "continents.toml").read_text(encoding="utf-8")
    return {code: name for name, codes in tomllib.loads(text).items() for code in codes.split()}


def _nearest(points: Array) -> tuple[NDArray[np.int64], Array]:
    """The nearest town's row and distance for each point; -1 where none is within the limit.

    Points of one degree of latitude and longitude are compared with the towns around it at once.
    """
    towns = _towns()
    rows, distances = np.full(len(points), -1), np.full(len(points), np.inf)
    cells = np.floor(points)
    order = np.lexsort(cells.T)  # np.unique imports numpy.ma, which takes as long as all of this.
    begins = np.flatnonzero(np.diff(cells[order], axis=0).any(axis=1)) + 1
    for cell in np.split(order, begins):
        for start in range(0, len(cell), _AT_ONCE):
            chosen = cell[start : start + _AT_ONCE]
            around = towns.around(points[chosen])
            if not len(around):
                continue
            degrees_around = towns.degrees[around]
            cosines = unit_vectors(points[chosen]) @ unit_vectors(degrees_around).T
            best = cosines.argmax(axis=1)
            rows[chosen] = around[best]
            distances[chosen] = distances_km(points[chosen], degrees_around[best])
    rows[distances > FARTHEST_TOWN_KM] = -1
    return rows, distances


class _Towns:
    """The table, memory-mapped, in the order of whole degrees of latitude, then of longitude."""

    def __init__(self) -> None:
        import pyarrow as pa

        file = paths.folder("index") / "places" / "towns.arrow"
        self.table: Any = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        columns = [_numbers(self.table[name].chunk(0)) for name in ("lat_e5", "lon_e5")]
        self.degrees: Array = np.stack(columns, axis=1) / 1e5
        bands = np.floor(self.degrees[:, 0])
        self._starts = np.searchsorted(bands, np.arange(-90, 92))

    def around(self, points: Array) -> NDArray[np.int64]:
        """The rows of all towns within the limit of any of the points, and some beyond."""
        reach = np.degrees(FARTHEST_TOWN_KM / EARTH_RADIUS_KM)
        (south, west), (north, east) = points.min(axis=0), points.max(axis=0)
        highest = min(90.0, max(abs(south), abs(north)) + reach)
        # The circle around a point is widest, in longitude, nearer to the pole than its centre.
        wide = np.sin(np.radians(reach)) / max(np.cos(np.radians(highest)), 1e-12)
        width = np.degrees(np.arcsin(wide)) if wide < 1 else 360.0
        first = max(int(np.floor(south - reach)), -90) + 90
        last = min(int(np.floor(north + reach)), 90) + 90
        bands = []
        for band in range(first, last + 1):
            begin, end = self._starts[band], self._starts[band + 1]
            lon = self.degrees[begin:end, 1]
            near = np.zeros(end - begin, dtype=bool)
            for turn in (-360, 0, 360):  # Across the antimeridian.
                near |= (lon >= west - width + turn) & (lon <= east + width + turn)
            bands.append(begin + np.flatnonzero(near))
        return np.concatenate(bands)


def _numbers(column: Any) -> NDArray[np.int32]:
    """A column of int32 without nulls, not copied; its own `to_numpy` imports pandas."""
    return np.frombuffer(column.buffers()[1], np.int32, len(column), 4 * column.offset)


@cache
def _towns() -> _Towns:
    return _Towns()
