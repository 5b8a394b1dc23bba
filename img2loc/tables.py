"""A CSV of the field's files → its cells by role, whatever its columns are called."""

import codecs
import csv
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Any, TextIO

from img2loc.errors import SourceError
from img2loc.types import Rejected

# The names under which the field's files carry each column, lower case.
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
    "licence": ("licence", "license"),
    "city": ("city", "town"),
    "region": ("region", "state", "admin1"),
    "country": ("country", "country_name"),
}
USUAL = ("photo", "lat", "lon", "id", "label", "author", "licence")
"""The roles that are looked for where none are named."""


class CsvTable:
    """Rows of a CSV (comma, semicolon or tab), read by role: "photo", "lat", "lon" and the others of COLUMN_NAMES.

    Columns are found by their usual names; `columns` ({"photo": "IMG_ID"}) settles an ambiguity, which is otherwise refused.
    For a `required` role with no such column, the first of its `stand_ins` that the header has is taken.

    Raises
    ------
    SourceError for a file that cannot be read, and where a `required` role has no column.

    """

    def __init__(
        self,
        path: Path,
        required: Sequence[str],
        columns: Mapping[str, str] | None = None,
        look_for: Collection[str] = USUAL,
        stand_ins: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.path = path
        self._required, self._look_for, self._stand_ins = required, look_for, stand_ins or {}
        self._digest = hashlib.sha256()
        try:
            head, self._lines = self._survey()
            self._delimiter, self.columns = self._layout(head, columns)
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {error.strerror}. Name a CSV file or a folder.") from error
        except UnicodeDecodeError as error:
            raise SourceError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error

    def __len__(self) -> int:
        """Rows below the header (a guide for progress: a quoted line break counts as a row)."""
        return self._lines

    def __iter__(self) -> Iterator[tuple[int, dict[str, str]] | Rejected]:
        """Line number and cells by role (stripped; "" for an empty one), in the file's order."""
        with self._open() as file:
            reader = self._reader(file, self._delimiter)
            try:
                header: list[str] = next(reader, [])
                places = [(role, header.index(column)) for role, column in self.columns.items()]
                for row in reader:
                    if len(row) > len(header):
                        yield Rejected(f"line {reader.line_num}", f"line {reader.line_num}: more cells than columns")
                    elif row:
                        yield reader.line_num, {role: row[at].strip() if at < len(row) else "" for role, at in places}
            except csv.Error as error:
                raise SourceError(f"{self.path}, line {reader.line_num}: {error}. Mend the CSV there.") from error

    def fingerprint(self, choices: str) -> str:
        """SHA-256, in hex, of the file's content and of what was chosen from it."""
        digest = self._digest.copy()
        digest.update(choices.encode())
        return digest.hexdigest()

    def _survey(self) -> tuple[str, int]:
        """The beginning of the text, and how many lines follow the first; never the whole file in memory."""
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

    def _layout(self, head: str, columns: Mapping[str, str] | None) -> tuple[str, dict[str, str]]:
        """The delimiter under which the header has the columns that are needed, and those columns."""
        first: SourceError | None = None
        for delimiter in sorted(",;\t", key=head.count, reverse=True):
            try:
                header = self._header(delimiter)
                return delimiter, find_columns(self.path, header, self._required, columns, self._look_for, self._stand_ins)
            except csv.Error as error:
                first = first or SourceError(f"{self.path}: its header cannot be read ({error}). Mend the CSV there.")
            except SourceError as error:
                first = first or error
        assert first is not None
        raise first


def find_columns(
    path: Path,
    header: Sequence[str],
    required: Sequence[str],
    chosen: Mapping[str, str] | None,
    look_for: Collection[str],
    stand_ins: Mapping[str, Sequence[str]],
) -> dict[str, str]:
    """Role → the column's name in this file."""
    found: dict[str, str] = {}
    for role, column in (chosen or {}).items():
        if role not in COLUMN_NAMES:
            raise SourceError(f"There is no column role {role!r}. Known: {', '.join(COLUMN_NAMES)}.")
        if column not in header:
            raise SourceError(f"{path} has no column {column!r}. It has: {', '.join(header)}.")
        found[role] = column
    for role, names in COLUMN_NAMES.items():
        matches = [column for column in header if column.strip().lower() in names and column not in found.values()]
        if role in found or role not in look_for or not matches:
            continue
        if len(matches) > 1:
            raise SourceError(
                f"{path} has {len(matches)} columns for the {role}: {', '.join(matches)}. "
                f"Rename all but one, or choose with columns.{role} in a recipe."
            )
        found[role] = matches[0]
    for role in required:
        if role in found:
            continue
        others = stand_ins.get(role, ())
        matches = [column for name in others for column in header if column.strip().lower() == name]
        if not matches:
            expected = ", ".join((*COLUMN_NAMES[role], *others))
            raise SourceError(f"{path} has no column for the {role}: none of {expected}. It has: {', '.join(header)}.")
        found[role] = matches[0]
    return found
