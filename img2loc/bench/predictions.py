"""Anyone's predictions and truth as two CSV files → Outcomes."""

import csv
import io
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from img2loc.bench.outcomes import STATUSES, Outcomes, gather
from img2loc.bench.truth import Truth
from img2loc.errors import SourceError
from img2loc.tables import COLUMN_NAMES
from img2loc.types import Location

# Of each role's lists of names the first that a file has is taken: a predicted latitude rather than the true one beside it.
_GUESSED = ("pred_{}", "{}_pred", "predicted_{}", "{}_predicted", "prediction_{}", "guess_{}")
_IDS = (("id",), COLUMN_NAMES["photo"])


def _guessed(role: str) -> tuple[tuple[str, ...], ...]:
    plain = COLUMN_NAMES[role]
    return tuple(form.format(name) for form in _GUESSED for name in plain), plain


_PREDICTION = {"id": _IDS, "lat": _guessed("lat"), "lon": _guessed("lon")}
_TRUTH = {"id": _IDS, "lat": (COLUMN_NAMES["lat"],), "lon": (COLUMN_NAMES["lon"],)}
_OPTIONAL = {
    "author": (COLUMN_NAMES["author"],),
    "status": (("status",),),
    "radius_km": (("radius_km",),),
    "file": (COLUMN_NAMES["photo"],),
}
_ALIKE: tuple[Callable[[str], str], ...] = (lambda name: PurePosixPath(name).name, lambda name: PurePosixPath(name).stem)
"""What ids may agree in when they are not the same, in this order."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Predictions beside the truth, and what was odd about the file."""

    outcomes: Outcomes
    rows: int
    without_row: int
    """Photographs of the truth that the file does not name."""
    empty: int
    """Rows without coordinates, or with NaN."""
    out_of_range: int
    """Rows whose coordinates are no point on Earth, or no numbers."""
    at_zero: int
    """Rows at exactly 0, 0, which some programs write in place of no answer; they are scored as they stand."""
    unknown: tuple[str, ...]
    """Ids that the truth does not have."""

    def notes(self) -> list[str]:
        """What a reader of the scores should know, in sentences."""
        told = [
            (self.without_row, "photos of the truth have no row: unanswered."),
            (self.empty, "rows have no coordinates: unanswered."),
            (self.out_of_range, "rows have coordinates that are no point on Earth: unanswered."),
            (self.at_zero, "rows are at exactly 0, 0, which may stand for no answer; they are scored as they stand."),
            (len(self.unknown), f"ids are not in the truth and were left out: {', '.join(self.unknown[:3])} …"),
        ]
        return [f"{count:,} {text}" for count, text in told if count]


def match(predictions: Path, truth: Path) -> Matched:
    """Read both files and match them: by id, else by file name, else by its stem where only one photograph has it.

    Raises SourceError for a file that cannot be read, a photograph predicted twice, and files that have nothing in common.
    """
    known = read_truth(truth)
    rows = _read(predictions, _PREDICTION)
    names = [row["id"] for row in rows]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise SourceError(
            f"{predictions} has {len(repeated):,} ids more than once, such as {repeated[0]!r}. Keep one row for each photo."
        )
    target = _pair(names, [row.id for row in known])
    if not target:
        raise SourceError(
            f"No id of {predictions} (such as {names[0] if names else ''!r}) is in {truth} (such as {known[0].id!r}). "
            "Check that both are of the same benchmark, and which column holds the ids."
        )
    twice = [photo for photo, count in Counter(target.values()).items() if count > 1]
    if twice:
        same = [name for name, photo in target.items() if photo == twice[0]]
        raise SourceError(
            f"{predictions} predicts {len(twice):,} photos more than once, such as {twice[0]!r}, by the ids {', '.join(same)}. "
            "Keep one row for each photo."
        )
    records: dict[str, dict[str, Any]] = {}
    odd: Counter[str] = Counter()
    for row in rows:
        if row["id"] in target:
            record = _record(row)
            odd[record["odd"]] += 1
            records[target[row["id"]]] = record
    return Matched(
        gather(predictions.stem, known, records, {"truth": {"file": truth.name, "rows": len(known)}}),
        rows=len(rows),
        without_row=len(known) - len(records),
        empty=odd["empty"],
        out_of_range=odd["out of range"],
        at_zero=odd["zero"],
        unknown=tuple(name for name in names if name not in target),
    )


def read_truth(path: Path) -> list[Truth]:
    """The rows of a truth CSV: id (or file name), lat, lon, and author where there is one. Raises SourceError."""
    found: dict[str, Truth] = {}
    for number, row in enumerate(_read(path, _TRUTH), 1):
        at = _degrees(row["lat"], row["lon"])
        if not isinstance(at, Location):
            raise SourceError(f"{path}, row {number}: lat {row['lat']!r}, lon {row['lon']!r} is no point on Earth. Mend it.")
        if not row["id"] or row["id"] in found:
            raise SourceError(f"{path}, row {number}: the id {row['id']!r} is empty or there twice. Mend it.")
        found[row["id"]] = Truth(row["id"], at, row.get("author", ""), row.get("file") or row["id"])
    if not found:
        raise SourceError(f"{path} has no rows below its header.")
    return list(found.values())


def _pair(names: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """Predicted id → the id of the truth that it means."""
    exact = set(known)
    target = {name: name for name in names if name in exact}
    for alike in _ALIKE:
        left = [name for name in names if name not in target]
        theirs, ours = _unique(left, alike), _unique(known, alike)
        target.update({name: ours[key] for key, name in theirs.items() if key in ours})
    return target


def _unique(names: Iterable[str], alike: Callable[[str], str]) -> dict[str, str]:
    """Short form → name, for the short forms that only one name has."""
    short = [(alike(name.replace("\\", "/")), name) for name in names]
    count = Counter(key for key, _ in short)
    return {key: name for key, name in short if key and count[key] == 1}


def _record(row: Mapping[str, str]) -> dict[str, Any]:
    """A row as a prediction, and under "odd" what is to be counted about it."""
    at = _degrees(row["lat"], row["lon"])
    said = row.get("status", "")
    if isinstance(at, Location):
        located = said if said in STATUSES else "located"
        zero = "zero" if (at.lat, at.lon) == (0.0, 0.0) else ""
        return {"status": located, "lat": at.lat, "lon": at.lon, "radius_km": _float(row.get("radius_km", "")), "odd": zero}
    without = said if said in STATUSES and said != "located" else "missing" if at == "empty" else "unparsed"
    return {"status": without, "odd": at}


def _degrees(lat: str, lon: str) -> Location | str:
    """The location, or "empty" or "out of range"."""
    if {lat.lower(), lon.lower()} & {"", "nan", "none", "null"}:
        return "empty"
    try:
        return Location(float(lat), float(lon))
    except ValueError:
        return "out of range"


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read(path: Path, roles: Mapping[str, tuple[tuple[str, ...], ...]]) -> list[dict[str, str]]:
    """Rows by role. The delimiter is comma, semicolon or tab, as the header has them. Raises SourceError."""
    try:
        text = path.read_text(encoding="utf-8-sig").lstrip("\r\n")
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}. Name a CSV file.") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path} is not UTF-8 text ({error}). Save it as UTF-8.") from error
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        columns = _columns(path, reader.fieldnames or [], roles)
        rows = []
        for row in reader:
            if None in row:
                raise csv.Error(f"line {reader.line_num} has more cells than the header; a comma in a name needs quotes")
            rows.append({role: (row[column] or "").strip() for role, column in columns.items()})
        return rows
    except csv.Error as error:
        raise SourceError(f"{path} cannot be read as a CSV: {error}. Mend it there.") from error


def _columns(path: Path, header: Sequence[str], roles: Mapping[str, tuple[tuple[str, ...], ...]]) -> dict[str, str]:
    """Role → column, by the usual names, whatever their case."""
    found: dict[str, str] = {}
    kinds: dict[str, int] = {}
    for role, lists in {**roles, **_OPTIONAL}.items():
        for kind, names in enumerate(lists):
            matches = [column for column in header if column.strip().lower() in names]
            if len(matches) > 1 and role in roles:
                raise SourceError(f"{path} has {len(matches)} columns for the {role}: {', '.join(matches)}. Rename all but one.")
            if matches:
                found[role], kinds[role] = matches[0], kind
                break
        if role in roles and role not in found:
            expected = ", ".join(name for names in lists[::-1] for name in names[:8])
            raise SourceError(f"{path} has no column for the {role}: none of {expected}. It has: {', '.join(header)}.")
    if kinds["lat"] != kinds["lon"]:
        raise SourceError(f"{path}: {found['lat']} and {found['lon']} are no pair. Rename one of them.")
    return found
