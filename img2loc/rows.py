"""The table of a gallery's rows, an Arrow file: id, lat, lon, label, author, licence, source; row i belongs to vector i."""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from img2loc.types import Item, Location

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = "rows.arrow"
COLUMNS = ("id", "lat", "lon", "label", "author", "licence", "source")


def schema() -> "pa.Schema":
    """The columns and their types: coordinates are numbers, all else is text."""
    import pyarrow as pa

    return pa.schema([(name, pa.float64() if name in ("lat", "lon") else pa.string()) for name in COLUMNS])


def table_of(items: Sequence[Item], source: str = "") -> "pa.Table":
    """One row an item; `source` is the name of the source of those that do not say theirs."""
    import pyarrow as pa

    places = [item.location for item in items]
    columns = {
        "id": [item.id for item in items],
        "lat": [at.lat for at in places],
        "lon": [at.lon for at in places],
        "label": [item.label for item in items],
        "author": [item.author for item in items],
        "licence": [item.licence for item in items],
        "source": [item.source or source for item in items],
    }
    return pa.table(columns, schema=schema())


class RowsFile:
    """Takes rows, batch by batch."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._schema = schema()
        self._sink = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._sink, self._schema)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._writer.close()
        self._sink.close()

    def add(self, rows: "pa.Table") -> None:
        """Append rows."""
        self._writer.write_table(rows.select(COLUMNS).cast(self._schema))


class Rows:
    """An opened table, memory-mapped. Raises OSError or pyarrow.ArrowInvalid for a file that is not a whole one."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._table: Any = pa.ipc.open_file(pa.memory_map(str(path))).read_all()

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, row: int) -> tuple[str, Location, str]:
        """Id, location and label of a row."""
        identity, lat, lon, label = (self._table[name][row].as_py() for name in ("id", "lat", "lon", "label"))
        return identity, Location(lat, lon), label

    def ids(self) -> list[str]:
        """Every row's id."""
        found: list[str] = self._table["id"].to_pylist()
        return found

    def repeated_ids(self) -> int:
        """Rows that have the id of an earlier row."""
        import pyarrow.compute as pc

        return len(self) - int(pc.count_distinct(self._table["id"]).as_py())

    def locations(self) -> NDArray[np.float64]:
        """Every row's (lat, lon) in degrees, shape (rows, 2)."""
        return np.stack([self._table[name].to_numpy() for name in ("lat", "lon")], axis=1)

    def matching(self, ids: Collection[str], authors: Collection[str]) -> NDArray[np.int64]:
        """The numbers of the rows with one of these ids, or by one of these authors; an empty author is nobody."""
        if not ids and not authors:
            return np.empty(0, dtype=np.int64)
        import pyarrow as pa
        import pyarrow.compute as pc

        by_id = pc.is_in(self._table["id"], pa.array(list(ids), pa.string()))
        by_author = pc.is_in(self._table["author"], pa.array([name for name in authors if name], pa.string()))
        return np.flatnonzero(pc.or_(by_id, by_author).to_numpy()).astype(np.int64)
