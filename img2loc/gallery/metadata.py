"""A gallery's metadata, an Arrow file: row i is the id, place, label and so on of vector i.

The files keep the British "licence" of the first galleries; an export says "license". `digest`
begins the SHA-256 of the photograph's bytes, so that a benchmark finds a copy under any name.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.core.types import Item, Location, RowNumbers

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "rows.arrow"
COLUMNS = ("id", "lat", "lon", "label", "author", "licence", "source", "digest")


def schema() -> "pa.Schema":
    """The columns' types: numbers for coordinates, text for the rest."""
    import pyarrow as pa

    return pa.schema(
        [(name, pa.float64() if name in ("lat", "lon") else pa.string()) for name in COLUMNS]
    )


def table_of(items: Sequence[Item], source: str = "") -> "pa.Table":
    """One row an item; `source` is the default for items that name no source."""
    import pyarrow as pa

    columns = {
        "id": [item.id for item in items],
        "lat": [item.location.lat for item in items],
        "lon": [item.location.lon for item in items],
        "label": [item.label for item in items],
        "author": [item.author for item in items],
        "licence": [item.license for item in items],
        "source": [item.source or source for item in items],
        "digest": [item.digest for item in items],
    }
    return pa.table(columns, schema=schema())


def complete(table: "pa.Table", source: str = "") -> "pa.Table":
    """The table with all COLUMNS: those that earlier versions did not write are empty or `source`.

    Raises ArrowInvalid for columns of other types.
    """
    import pyarrow as pa

    for name in COLUMNS:
        if name not in table.column_names:
            text = source if name == "source" else ""
            table = table.append_column(name, pa.array([text] * len(table), pa.string()))
    return table.select(COLUMNS).cast(schema())


class Metadata:
    """A gallery's metadata; `source` stands for that column where an earlier version has none."""

    def __init__(self, table: "pa.Table", source: str = "") -> None:
        self._table: Any = table
        self._source = source

    @classmethod
    def open(cls, path: Path, source: str = "") -> Self:
        """Open a file, memory-mapped. Raises OSError or ArrowInvalid for a damaged one."""
        import pyarrow as pa

        return cls(pa.ipc.open_file(pa.memory_map(str(path))).read_all(), source)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> tuple[str, Location, str]:
        """Id, location and label of a row."""
        identity, lat, lon, label = (
            self._table[name][row].as_py() for name in ("id", "lat", "lon", "label")
        )
        return identity, Location(lat, lon), label

    def ids(self) -> list[str]:
        """Every row's id."""
        ids: list[str] = self._table["id"].to_pylist()
        return ids

    def repeated_ids(self) -> int:
        """The number of rows that have the id of an earlier row."""
        import pyarrow.compute as pc

        return len(self) - int(pc.count_distinct(self._table["id"]).as_py())

    def locations(self) -> NDArray[np.float64]:
        """Every row's (lat, lon) in degrees, shape (rows, 2)."""
        return np.stack([self._table[name].to_numpy() for name in ("lat", "lon")], axis=1)

    def batches(self) -> Iterator["pa.RecordBatch"]:
        """All columns of all rows, batch by batch, in row order."""
        import pyarrow as pa

        for batch in self._table.to_batches():
            yield from complete(pa.Table.from_batches([batch]), self._source).to_batches()

    def has(self, column: str) -> bool:
        """Whether any row has a text in this column."""
        import pyarrow.compute as pc

        known = column in self._table.column_names
        return known and pc.any(pc.not_equal(self._table[column], "")).as_py() is True

    def rows_by(self, ids: Collection[str] = (), authors: Collection[str] = ()) -> RowNumbers:
        """The rows with one of these ids, or by one of these authors; an empty author is nobody."""
        import pyarrow as pa
        import pyarrow.compute as pc

        names = [name for name in authors if name]
        by_id = pc.is_in(self._table["id"], pa.array(list(ids), pa.string()))
        by_author = pc.is_in(self._table["author"], pa.array(names, pa.string()))
        return np.flatnonzero(pc.or_(by_id, by_author).to_numpy()).astype(np.int64)
