"""A location → the nearest town, region and country, offline, from GeoNames (index/places)."""

import tomllib
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from img2loc.core import paths
from img2loc.core.geo import EARTH_RADIUS_KM, Array, degrees, distances_km, unit_vectors
from img2loc.core.types import Location, Place

FARTHEST_TOWN_KM = 100.0
"""Beyond this the nearest town says nothing about a place (mid-ocean, ice, desert)."""
_TOWN_KM = 10.0  # A town is about so large.
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

    A circle lies in what nine in ten of the towns in it belong to; None where it lies in none of
    these, or holds no town.
    """
    towns = _towns()
    distances = distances_km(towns.degrees, degrees([location]))
    inside = np.flatnonzero(distances <= max(radius_km, _TOWN_KM))
    nearest = place_at(location)
    if not len(inside) or nearest is None:
        return None
    if radius_km <= _TOWN_KM and nearest.distance_km <= _TOWN_KM:
        return _joined(nearest.name, nearest.region, nearest.country)
    most = _MOST * len(inside)
    same_region = towns.are("region", nearest.region)[inside]
    same_country = towns.are("country_code", nearest.country_code)[inside]
    if (same_region & same_country).sum() >= most:
        return _joined(nearest.region, nearest.country)
    if same_country.sum() >= most:
        return nearest.country
    here = continents().get(nearest.country_code)
    same_continent = towns.are("country_code", *_countries_of(here))[inside]
    return here if here is not None and same_continent.sum() >= most else None


def _countries_of(continent: str | None) -> list[str]:
    return [code for code, name in continents().items() if name == continent]


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

    def are(self, column: str, *names: str) -> NDArray[np.bool_]:
        """Which towns have one of these names in a column of few names, shape (towns,)."""
        codes = self.table[column].chunk(0)
        known = np.array([name in names for name in codes.dictionary.to_pylist()])
        return np.asarray(known[_numbers(codes.indices)])

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
