"""Anyone's predictions or replies, and their truth, as two files → Outcomes."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from img2loc.bench.datasets.benchmark import PHOTO_NAMES, Truth
from img2loc.bench.scores.outcomes import STATUSES, Outcomes, gather
from img2loc.bench.scores.replies import reply_rows
from img2loc.core.errors import SourceError
from img2loc.core.types import Location, Rejected
from img2loc.data.items import location_of
from img2loc.data.photo_names import author_in, key, plain_name
from img2loc.data.tables import COLUMN_NAMES, Roles, known_names, open_table

EMPTY, NOT_NUMBERS, OUT_OF_RANGE, AT_ZERO = "empty", "not a number", "out of range", "at zero"
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
    "spread_km": [("spread_km",)],
    "file": [(name,) for name in _PHOTO],
}
_ALIKE: tuple[Callable[[str], str], ...] = (
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
    key,
)
"""What ids may confirm in when they are not the same, in this order."""


_WITHOUT_ROW = {
    False: "photos of the truth have no row: unanswered, and wrong. If they were not asked:"
    " --subset.",
    True: "photos of the truth have no row and are left out (--subset).",
}


@dataclass(frozen=True, slots=True)
class Matched:
    """Predictions beside the truth, and what is unusual about the file."""

    outcomes: Outcomes
    rows: int
    without_row: int
    """Photographs of the truth that the file does not name."""
    subset: bool
    """Whether those were left out, and not counted as unanswered."""
    unusual: Mapping[str, int]
    """How many rows are `EMPTY` (or NaN), `NOT_NUMBERS`, `OUT_OF_RANGE` or `AT_ZERO`.

    Some programs write 0, 0 for no answer; such rows are scored as they stand.
    """
    unknown: tuple[str, ...]
    """Ids that the truth does not have."""
    examples: Mapping[str, str]
    """The first row of each kind of `unusual`, as it is written."""
    truth_skipped: tuple[str, ...] = ()
    """Rows of the truth that cannot be used, and why."""

    def notes(self) -> list[str]:
        """What a reader of the scores should know, in sentences."""
        like = {kind: f", such as {row}" for kind, row in self.examples.items()}
        counts = [
            (
                len(self.truth_skipped),
                f"rows of the truth cannot be used; the first: {''.join(self.truth_skipped[:1])}.",
            ),
            (self.without_row, _WITHOUT_ROW[self.subset]),
            (self.unusual.get(EMPTY), "rows have no coordinates: unanswered."),
            (
                self.unusual.get(NOT_NUMBERS),
                f"rows have coordinates that are no numbers{like.get(NOT_NUMBERS, '')}:"
                " unanswered. A decimal comma is not read.",
            ),
            (
                self.unusual.get(OUT_OF_RANGE),
                f"rows have coordinates that are no point on Earth{like.get(OUT_OF_RANGE, '')}:"
                " unanswered.",
            ),
            (
                self.unusual.get(AT_ZERO),
                "rows are at exactly 0, 0, which may stand for no answer; they are scored as they"
                " stand.",
            ),
            (
                len(self.unknown),
                f"ids are not in the truth and were left out: {', '.join(self.unknown[:3])} …",
            ),
        ]
        return [f"{count:,} {text}" for count, text in counts if count]


def match(predictions: Path, truth: Path, *, subset: bool = False) -> Matched:
    """Read both files and match them by id, else by file name, stem or Flickr id where unique.

    `predictions` is a table, or lines of replies (.jsonl). With `subset`, photographs without a row
    are left out, as not asked. Of a column of ids and one of photographs in either file, those
    match by which more rows do. Raises SourceError for a file that cannot be read, a photograph
    predicted twice, and files that have nothing in common.
    """
    known, skipped = read_truth(truth)
    if predictions.suffix.lower() == ".jsonl":
        rows = list(reply_rows(predictions))
    else:
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
    unusual: Counter[str] = Counter()
    examples: dict[str, str] = {}
    for row in rows:
        if (name := row[column]) in target:
            kind, records[target[name]] = _record(row)
            unusual[kind] += 1
            examples.setdefault(kind, f"lat {row['lat']!r}, lon {row['lon']!r} of {name}")
    about = {"truth": {"file": truth.name, "rows": len(known)}}
    asked = [row for row in known if row.id in records] if subset else known
    return Matched(
        gather(predictions.stem, asked, records, about),
        rows=len(rows),
        without_row=len(known) - len(records),
        subset=subset,
        unusual=unusual,
        unknown=tuple(name for name in names if name not in target),
        examples=examples,
        truth_skipped=tuple(skipped),
    )


def read_truth(path: Path) -> tuple[list[Truth], list[str]]:
    """The rows of a truth file (id or photo, lat, lon, perhaps author), and why others are skipped.

    By the rules of `Benchmark.load`: 0, 0 and what is no point on Earth is skipped, and of rows of
    one id all but the first. Raises SourceError where no row remains.
    """
    truths: dict[str, Truth] = {}
    skipped: list[str] = []
    for where, row in _read(path, _TRUTH):
        at = location_of(row["lat"], row["lon"])
        name = row["id"]
        if not name:
            skipped.append(f"{where}: no id")
        elif isinstance(at, str):
            skipped.append(f"{name}: {where}: {at}")
        elif plain_name(name) in truths:
            skipped.append(f"{name}: {where}: duplicate id")
        else:
            author, photo = row.get("author", ""), row.get("file") or name
            author = author_in(author) or author or author_in(photo)
            truths[plain_name(name)] = Truth(name, at, author, photo)
    if not truths:
        reason = skipped[0] if skipped else "none below its header"
        raise SourceError(f"{path} has no rows that can be used ({reason}). Mend the CSV.")
    return list(truths.values()), skipped


def _paired(
    rows: Sequence[Mapping[str, str]], known: Sequence[Truth]
) -> tuple[str, dict[str, str]]:
    """The column by which most rows match, ids first, and its values → ids of the truth."""
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
        unmatched = [name for name in names if name not in target]
        theirs, ours = _unique(unmatched, alike), _unique(known, alike)
        target.update({name: ours[key] for key, name in theirs.items() if key in ours})
    return target


def _unique(names: Iterable[str], alike: Callable[[str], str]) -> dict[str, str]:
    """Short form → name, for the short forms that only one name has."""
    short = [(alike(name.replace("\\", "/")), name) for name in names]
    count = Counter(key for key, _ in short)
    return {key: name for key, name in short if key and count[key] == 1}


def _record(row: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """What is unusual about a row ("": nothing), and the row as a prediction."""
    status = row.get("status", "")
    status = status if status in STATUSES else ""
    lat, lon = row["lat"], row["lon"]
    if {lat.lower(), lon.lower()} & {"", "nan", "none", "null"}:
        return EMPTY, {"status": "missing" if status in ("", "located") else status}
    unparsed = {"status": "unparsed" if status in ("", "located") else status}
    try:
        degrees = float(lat), float(lon)
    except ValueError:
        return NOT_NUMBERS, unparsed
    try:
        at = Location(*degrees)
    except ValueError:
        return OUT_OF_RANGE, unparsed
    return AT_ZERO if degrees == (0.0, 0.0) else "", {
        "status": status or "located",
        "lat": at.lat,
        "lon": at.lon,
        "radius_km": _float(row.get("radius_km", "")),
        "spread_km": _float(row.get("spread_km", "")),
    }


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
