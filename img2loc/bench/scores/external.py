"""Anyone's predictions and truth, as two CSV or Parquet files → Outcomes."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from img2loc.bench.datasets.benchmark import PHOTO_NAMES, Truth
from img2loc.bench.scores.outcomes import STATUSES, Outcomes, gather
from img2loc.core.errors import SourceError
from img2loc.core.types import Location, Rejected
from img2loc.data.items import location_of
from img2loc.data.photo_names import author_in, key, plain_name
from img2loc.data.tables import COLUMN_NAMES, Roles, known_names, open_table

NOT_NUMBERS, OUT_OF_RANGE = "not a number", "out of range"
# Of each role's lists of names the first that a file has is taken: a predicted latitude rather than
# the true one beside it.
_GUESSED = ("pred_{}", "{}_pred", "predicted_{}", "{}_predicted", "prediction_{}", "guess_{}")
_PHOTO = (*COLUMN_NAMES["photo"], *PHOTO_NAMES)
_IDS = (("id",), _PHOTO)


def _guessed(role: str) -> tuple[tuple[str, ...], ...]:
    return (
        tuple(form.format(name) for form in _GUESSED for name in COLUMN_NAMES[role]),
        COLUMN_NAMES[role],
    )


_PREDICTION = {"id": _IDS, "lat": _guessed("lat"), "lon": _guessed("lon")}
_TRUTH = {"id": _IDS, **known_names("lat", "lon")}
# Of columns that are not needed, several may be there: the first of these names counts.
_OPTIONAL = {
    "author": [(name,) for name in COLUMN_NAMES["author"]],
    "status": [("status",)],
    "radius_km": [("radius_km",)],
    "file": [(name,) for name in _PHOTO],
}
_ALIKE: tuple[Callable[[str], str], ...] = (
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
    key,
)
"""What ids may confirm in when they are not the same, in this order."""


@dataclass(frozen=True, slots=True)
class Matched:
    """Predictions beside the truth, and what was odd about the file."""

    outcomes: Outcomes
    rows: int
    without_row: int
    """Photographs of the truth that the file does not name."""
    empty: int
    """Rows without coordinates, or with NaN."""
    not_numbers: int
    """Rows whose coordinates are no numbers."""
    out_of_range: int
    """Rows whose coordinates are numbers, but no point on Earth."""
    at_zero: int
    """Rows at exactly 0, 0, which some programs write in place of no answer; they are scored as they stand."""
    unknown: tuple[str, ...]
    """Ids that the truth does not have."""
    examples: Mapping[str, str]
    """The first row of each oddity, as it is written."""
    truth_skipped: tuple[str, ...] = ()
    """Rows of the truth that cannot be used, and why."""

    def notes(self) -> list[str]:
        """What a reader of the scores should know, in sentences."""
        like = {odd: f", such as {row}" for odd, row in self.examples.items()}
        told = [
            (
                len(self.truth_skipped),
                f"rows of the truth cannot be used; the first: {''.join(self.truth_skipped[:1])}.",
            ),
            (self.without_row, "photos of the truth have no row: unanswered."),
            (self.empty, "rows have no coordinates: unanswered."),
            (
                self.not_numbers,
                (
                    f"rows have coordinates that are no numbers{like.get(NOT_NUMBERS, '')}:"
                    " unanswered. A decimal comma is not read."
                ),
            ),
            (
                self.out_of_range,
                (
                    f"rows have coordinates that are no point on Earth{like.get(OUT_OF_RANGE, '')}:"
                    " unanswered."
                ),
            ),
            (
                self.at_zero,
                (
                    "rows are at exactly 0, 0, which may stand for no answer; they are scored as"
                    " they stand."
                ),
            ),
            (
                len(self.unknown),
                f"ids are not in the truth and were left out: {', '.join(self.unknown[:3])} …",
            ),
        ]
        return [f"{count:,} {text}" for count, text in told if count]


def match(predictions: Path, truth: Path) -> Matched:
    """Read both files and match them: by id, else by file name, else by its stem or Flickr id where only one photograph has it.

    Of a column of ids and one of photographs in either file those are taken by which more rows
    match. Raises SourceError for a file that cannot be read, a photograph predicted twice, and
    files that have nothing in common.
    """
    known, left_out = read_truth(truth)
    rows = [row for _, row in _read(predictions, _PREDICTION)]
    column, target = _paired(rows, known)
    names = [row[column] for row in rows]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise SourceError(
            f"{predictions} has {len(repeated):,} ids more than once, such as {repeated[0]!r}. Keep"
            " one row for each photo."
        )
    if not target:
        raise SourceError(
            f"No id of {predictions} (such as {names[0] if names else ''!r}) is in {truth} (such as"
            f" {known[0].id!r}). Check that both are of the same benchmark, and which column holds"
            " the ids."
        )
    twice = [photo for photo, count in Counter(target.values()).items() if count > 1]
    if twice:
        same = [name for name, photo in target.items() if photo == twice[0]]
        raise SourceError(
            f"{predictions} predicts {len(twice):,} photos more than once, such as {twice[0]!r}, by"
            f" the ids {', '.join(same)}. Keep one row for each photo."
        )
    records: dict[str, dict[str, Any]] = {}
    odd: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in rows:
        if row[column] in target:
            record = _record(row)
            odd[record["odd"]] += 1
            examples.setdefault(
                record["odd"], f"lat {row['lat']!r}, lon {row['lon']!r} of {row[column]}"
            )
            records[target[row[column]]] = record
    return Matched(
        gather(
            predictions.stem, known, records, {"truth": {"file": truth.name, "rows": len(known)}}
        ),
        rows=len(rows),
        without_row=len(known) - len(records),
        empty=odd["empty"],
        not_numbers=odd[NOT_NUMBERS],
        out_of_range=odd[OUT_OF_RANGE],
        at_zero=odd["zero"],
        unknown=tuple(name for name in names if name not in target),
        examples=examples,
        truth_skipped=tuple(left_out),
    )


def read_truth(path: Path) -> tuple[list[Truth], list[str]]:
    """The rows of a truth CSV (id or file name, lat, lon, and author where there is one), and why others were left out.

    By the rules of `Benchmark.load`: 0, 0 and what is no point on Earth is left out, and of rows of
    one id all but the first. Raises SourceError where no row is left.
    """
    found: dict[str, Truth] = {}
    left_out: list[str] = []
    for where, row in _read(path, _TRUTH):
        at = location_of(row["lat"], row["lon"])
        name = row["id"]
        if not name:
            left_out.append(f"{where}: no id")
        elif isinstance(at, str):
            left_out.append(f"{name}: {where}: {at}")
        elif plain_name(name) in found:
            left_out.append(f"{name}: {where}: duplicate id")
        else:
            author, photo = row.get("author", ""), row.get("file") or name
            found[plain_name(name)] = Truth(
                name, at, author_in(author) or author or author_in(photo), photo
            )
    if not found:
        raise SourceError(
            f"{path} has no rows that can be used ({(left_out or ['none below its header'])[0]})."
            " Mend the CSV."
        )
    return list(found.values()), left_out


def _paired(
    rows: Sequence[Mapping[str, str]], known: Sequence[Truth]
) -> tuple[str, dict[str, str]]:
    """The column by which most rows match, ids before photographs, and its values → ids of the truth."""
    best: tuple[str, dict[str, str]] = ("id", {})
    photos = {row.photo: row.id for row in known}
    sides = [{row.id: row.id for row in known}]
    if len(photos) == len(known):
        sides.append(photos)
    for column in ("id", "file"):
        names = [row[column] for row in rows if row.get(column)]
        for ids in sides:
            target = {name: ids[theirs] for name, theirs in _pair(names, list(ids)).items()}
            if len(target) > len(best[1]):
                best = column, target
    return best


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
        return {
            "status": located,
            "lat": at.lat,
            "lon": at.lon,
            "radius_km": _float(row.get("radius_km", "")),
            "odd": zero,
        }
    without = (
        said
        if said in STATUSES and said != "located"
        else "missing"
        if at == "empty"
        else "unparsed"
    )
    return {"status": without, "odd": at}


def _degrees(lat: str, lon: str) -> Location | str:
    """The location, or "empty", "not a number" or "out of range"."""
    if {lat.lower(), lon.lower()} & {"", "nan", "none", "null"}:
        return "empty"
    try:
        degrees = float(lat), float(lon)
    except ValueError:
        return NOT_NUMBERS
    try:
        return Location(*degrees)
    except ValueError:
        return OUT_OF_RANGE


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _read(path: Path, roles: Roles) -> list[tuple[str, dict[str, str]]]:
    """Where each row is, and its cells by role. Raises SourceError."""
    table = open_table(path, ("id", "lat", "lon"), {**roles, **_OPTIONAL})
    lat, lon = table.columns["lat"], table.columns["lon"]
    if (lat.strip().lower() in COLUMN_NAMES["lat"]) != (lon.strip().lower() in COLUMN_NAMES["lon"]):
        raise SourceError(f"{path}: {lat} and {lon} are no pair. Rename one of them.")
    rows = []
    for row in table:
        if isinstance(row, Rejected):
            raise SourceError(f"{path}, {row.reason}. A comma in a name needs quotes.")
        rows.append(row)
    return rows
