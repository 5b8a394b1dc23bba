"""A CSV or Parquet file → its rows' cells by role, whatever its columns are called."""

import codecs
import csv
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import Any, TextIO

from img2loc.core.errors import SourceError, first_line
from img2loc.core.types import Rejected

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "photo": (
        *("file", "filename", "file_name", "filepath", "img_id", "img_file", "img_path", "name"),
        *("image", "image_id", "image_path", "image_file", "path", "photo"),
    ),
    "lat": ("lat", "latitude"),
    "lon": ("lon", "lng", "long", "longitude"),
    "id": ("id",),
    "label": ("label", "title", "caption"),
    "author": ("author", "ownernsid", "owner", "user_id", "photographer"),
    "license": ("license", "licence"),
    "city": ("city", "town"),
    "region": ("region", "state", "admin1"),
    "country": ("country", "country_name"),
}
"""Role → the lower-case names that the field's files give such a column."""
Roles = Mapping[str, Sequence[Sequence[str]]]
"""Role → lists of lower-case column names; of the first list with a name in the header, that."""
_Find = Callable[[Sequence[str]], dict[str, str]]
_DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab"}
_BATCH = 4096


def known_names(*roles: str) -> Roles:
    """These roles with their known column names."""
    return {role: (COLUMN_NAMES[role],) for role in roles}


PHOTO_ROLES = known_names("photo", "lat", "lon", "id", "label", "author", "license")


class Table(ABC):
    """Rows of a file, streamed."""

    columns: dict[str, str]
    """Role → the column's name in the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digest = hashlib.sha256()

    @abstractmethod
    def __len__(self) -> int:
        """Rows (of a CSV a guide for progress: a quoted line break counts as a row)."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[str, dict[str, str]] | Rejected]:
        """Of each row in order, where it is ("line 7", "row 6" of Parquet) and its cells by role.

        Cells are stripped text. Raises SourceError where the file is damaged.
        """

    def fingerprint(self, choices: str) -> str:
        """SHA-256, in hex, of the file's content and of the choices."""
        digest = self._digest.copy()
        digest.update(choices.encode())
        return digest.hexdigest()


def open_table(
    path: Path,
    required: Sequence[str],
    roles: Roles = PHOTO_ROLES,
    columns: Mapping[str, str] | None = None,
) -> Table:
    """A Parquet file (.parquet), else a CSV (comma, semicolon or tab), with the `roles` it has.

    `columns` ({"photo": "IMG_ID"}) resolves an ambiguity, which is an error otherwise. Raises
    SourceError for a file that cannot be read, and where a `required` role has no column.
    """
    kind = _Parquet if path.suffix.lower() == ".parquet" else _Csv
    find = partial(_find_columns, path, required=required, roles=roles, chosen=columns or {})
    try:
        return kind(path, find)
    except OSError as error:
        raise SourceError(
            f"{path} cannot be read: {error.strerror or first_line(error)}. Name a CSV or Parquet"
            " file."
        ) from error


class _Csv(Table):
    def __init__(self, path: Path, find: _Find) -> None:
        super().__init__(path)
        try:
            head, self._lines = self._survey()
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
        self._delimiter, self.columns = self._layout(head, find)

    def __len__(self) -> int:
        return self._lines

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]] | Rejected]:
        with self._open() as file:
            reader = self._reader(file, self._delimiter)
            try:
                header: list[str] = next(reader, [])
                places = [(role, header.index(column)) for role, column in self.columns.items()]
                for row in reader:
                    where = f"line {reader.line_num}"
                    if len(row) > len(header):
                        yield Rejected(where, f"{where}: more cells than columns")
                    elif row:
                        row += [""] * (len(header) - len(row))
                        yield where, {role: row[at].strip() for role, at in places}
            except csv.Error as error:
                raise SourceError(
                    f"{self.path}, line {reader.line_num}: {error}. Mend the CSV there."
                ) from error

    def _survey(self) -> tuple[str, int]:
        """The text's beginning, and how many lines follow the first; read in blocks."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")()
        head, newlines, trailing = "", 0, 0
        with self.path.open("rb") as file:
            while chunk := file.read(1 << 18):
                self._digest.update(chunk)
                text = decoder.decode(chunk)
                text = text if head else text.lstrip("\r\n")
                head = head or text[:2000]
                written = text.rstrip()
                newlines += written.count("\n") + (trailing if written else 0)
                trailing = text.count("\n", len(written)) + (0 if written else trailing)
            decoder.decode(b"", final=True)
        return head, newlines

    def _open(self) -> TextIO:
        try:
            return self.path.open(encoding="utf-8-sig", newline="")
        except OSError as error:
            raise SourceError(f"{self.path} cannot be read any more: {error.strerror}.") from error

    def _reader(self, file: TextIO, delimiter: str) -> Any:
        lines = dropwhile(lambda line: not line.strip("\r\n"), file)
        return csv.reader(lines, delimiter=delimiter, strict=True)

    def _header(self, delimiter: str) -> list[str]:
        with self._open() as file:
            return next(self._reader(file, delimiter), [])

    def _layout(self, head: str, find: _Find) -> tuple[str, dict[str, str]]:
        """The delimiter under which the header has the required columns, and the columns."""
        first: SourceError | None = None
        for delimiter in sorted(_DELIMITERS, key=head.count, reverse=True):
            try:
                return delimiter, find(self._header(delimiter))
            except csv.Error as error:
                first = first or SourceError(
                    f"{self.path}: its header cannot be read ({error}). Mend the CSV there."
                )
            except SourceError as error:
                first = first or error
        assert first is not None
        if any(delimiter in head.partition("\n")[0] for delimiter in _DELIMITERS) or not head:
            raise first
        raise SourceError(
            f"{first} The cells of a CSV are separated by {' or '.join(_DELIMITERS.values())}."
        )


class _Parquet(Table):
    def __init__(self, path: Path, find: _Find) -> None:
        super().__init__(path)
        with path.open("rb") as content:
            while chunk := content.read(1 << 20):
                self._digest.update(chunk)
        file = self._open()
        self._rows = int(file.metadata.num_rows)
        self.columns = find(file.schema_arrow.names)

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[tuple[str, dict[str, str]] | Rejected]:
        number = 0
        for batch in self._batches():
            cells = {role: batch[column].to_pylist() for role, column in self.columns.items()}
            for values in zip(*cells.values(), strict=True):
                number += 1
                yield (
                    f"row {number}",
                    {role: _text(value) for role, value in zip(cells, values, strict=True)},
                )

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        try:
            yield from self._open().iter_batches(_BATCH, columns=sorted(set(self.columns.values())))
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(f"{self.path} is damaged: {first_line(error)}.") from error

    def _open(self) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.ParquetFile(self.path)
        except (OSError, pa.ArrowInvalid) as error:
            raise SourceError(
                f"{self.path} cannot be read as Parquet: {first_line(error)}."
            ) from error


def _text(value: object) -> str:
    if isinstance(value, bytes):  # As some writers leave text.
        return value.decode("utf-8", "backslashreplace").strip()
    if isinstance(value, float):  # As whole numbers come out of a column in which some are missing.
        return "" if math.isnan(value) else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value).strip()


def check_roles(roles: Iterable[str]) -> None:
    """Raise SourceError for a role that no column can have."""
    for role in roles:
        if role not in COLUMN_NAMES:
            raise SourceError(
                f"There is no column role {role!r}. Known: {', '.join(COLUMN_NAMES)}."
            )


def _find_columns(
    path: Path,
    header: Sequence[str],
    required: Sequence[str],
    roles: Roles,
    chosen: Mapping[str, str],
) -> dict[str, str]:
    """Role → the column's name in this file."""
    if not header:
        raise SourceError(f"{path} is empty. Name a file with a header and rows.")
    check_roles(chosen)
    for column in chosen.values():
        if column not in header:
            raise SourceError(f"{path} has no column {column!r}. It has: {', '.join(header)}.")
    columns = dict(chosen)
    free = [column for column in header if column not in chosen.values()]
    for role, lists in roles.items():
        if role in chosen:
            continue
        named = ([column for column in free if column.strip().lower() in names] for names in lists)
        matches = next(filter(None, named), [])
        if len(matches) > 1:
            raise SourceError(
                f"{path} has {len(matches)} columns for the {role}: {', '.join(matches)}. "
                f"Rename all but one, or choose with columns.{role} in a recipe."
            )
        if matches:
            columns[role] = matches[0]
        elif role in required:
            expected = ", ".join(name for names in lists for name in names)
            raise SourceError(
                f"{path} has no column for the {role}: none of {expected}. It has:"
                f" {', '.join(header)}."
            )
    return columns
