"""A Parquet file of the field → its cells by role, as tables.CsvTable gives those of a CSV."""

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from img2loc.errors import SourceError, first_line
from img2loc.tables import COLUMN_NAMES, find_columns

_BATCH = 4096


class ParquetTable:
    """Rows of a Parquet file, read by role, batch by batch. Raises SourceError as CsvTable does."""

    def __init__(
        self,
        path: Path,
        required: Sequence[str],
        columns: Mapping[str, str] | None = None,
        look_for: Collection[str] = tuple(COLUMN_NAMES),
        stand_ins: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.path = path
        self._digest = hashlib.sha256()
        file = self._open()
        self._rows = int(file.metadata.num_rows)
        self.columns = find_columns(path, file.schema_arrow.names, required, columns, look_for, stand_ins or {})
        with path.open("rb") as content:
            while chunk := content.read(1 << 20):
                self._digest.update(chunk)

    def __len__(self) -> int:
        """Rows."""
        return self._rows

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Row number, from 1, and cells by role as text ("" for none), in the file's order."""
        number = 0
        for batch in self._batches():
            cells = {role: batch[column].to_pylist() for role, column in self.columns.items()}
            for values in zip(*cells.values(), strict=True):
                number += 1
                yield number, {role: _text(value) for role, value in zip(cells, values, strict=True)}

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self._open().iter_batches(_BATCH, columns=sorted(set(self.columns.values())))
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{self.path} is damaged: {first_line(error)}.") from error

    def fingerprint(self, choices: str) -> str:
        """SHA-256, in hex, of the file's content and of what was chosen from it."""
        digest = self._digest.copy()
        digest.update(choices.encode())
        return digest.hexdigest()

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{self.path} cannot be read as Parquet: {first_line(error)}.") from error


def _text(value: object) -> str:
    if isinstance(value, bytes):  # As some writers leave text.
        return value.decode("utf-8", "backslashreplace").strip()
    if isinstance(value, float):  # As whole numbers come out of a column in which some are missing.
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value).strip()
