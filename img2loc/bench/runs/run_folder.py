"""A run's folder: `run.json`, `truth.csv`, and one line a photograph in `predictions.jsonl`."""

import csv
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from img2loc.bench.datasets.benchmark import Truth
from img2loc.core.errors import RunError
from img2loc.core.files import replacing, write_json
from img2loc.core.types import Location
from img2loc.core.workspace import Workspace, plain

FORMAT = 1
ABOUT, TRUTH, PREDICTIONS = "run.json", "truth.csv", "predictions.jsonl"


@dataclass(slots=True, eq=False)
class Run:
    """A run: run.json, its photographs, and the last line of each by id.

    `spent_usd` is what all lines have cost, also those that a later line of the id replaces.
    """

    folder: Path
    about: dict[str, Any]
    truth: list[Truth]
    predictions: dict[str, dict[str, Any]]
    spent_usd: float = 0.0

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read a run, finished or not; a torn last line is passed over. Raises RunError."""
        lines = folder / PREDICTIONS
        try:
            about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
            with (folder / TRUTH).open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
            content = lines.read_bytes() if lines.exists() else b""
        except FileNotFoundError as error:
            lost = Path(str(error.filename)).name
            if (folder / ABOUT).exists():
                raise RunError(
                    f"The run {folder} has lost its {lost}. Restore it, or choose another --out."
                ) from error
            raise RunError(
                f"{folder} is no run: it has no {lost}. Make one: img2loc bench run."
            ) from error
        except (OSError, ValueError) as error:
            raise RunError(f"The run {folder} cannot be read ({error}).") from error
        if not isinstance(about, dict) or about.get("format") != FORMAT:
            raise RunError(
                f"{folder / ABOUT} is not of format {FORMAT}. Run it again with this version, into"
                " another folder."
            )
        predictions, _, spent = _read_lines(lines, content)
        try:
            truth = [
                Truth(
                    *(row["id"], Location(float(row["lat"]), float(row["lon"])), row["author"]),
                    photo=str(predictions.get(row["id"], {}).get("photo", "")),
                )
                for row in rows
            ]
        except (KeyError, ValueError, TypeError) as error:
            raise RunError(
                f"{folder / TRUTH} is damaged ({error!r}). Restore it, or run into another folder."
            ) from error
        return cls(folder, about, truth, predictions, spent)


@dataclass(slots=True, eq=False)
class Writer(Run):
    """A run that is being written, by this process alone."""

    def append(self, record: dict[str, Any]) -> None:
        """Add one line.

        When it returns, the line survives the death of this process. Raises OSError.
        """
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        line = f"{text}\n".encode("utf-8", "backslashreplace")  # Lone surrogates, of a file name.
        # Opened each time and unbuffered: nothing remains to be written when the disk is full.
        with (self.folder / PREDICTIONS).open("ab", buffering=0) as file:
            written = 0
            while written < len(line):
                written += file.write(line[written:]) or 0
        self.predictions[record["id"]] = record
        self.spent_usd += _cost(record)

    def forget(self, ids: Collection[str]) -> None:
        """Remove the lines of these photographs. Raises OSError."""
        if not ids:
            return
        for identity in ids:
            self.predictions.pop(identity, None)
        path = self.folder / PREDICTIONS
        with replacing(path) as draft, path.open("rb") as file, draft.open("wb") as kept:
            kept.writelines(line for line in file if json.loads(line)["id"] not in ids)


@contextmanager
def writing(
    folder: Path,
    about: Mapping[str, Any],
    truth: Sequence[Truth],
    indifferent: Collection[str] = (),
) -> Iterator[Writer]:
    """Begin a run in `folder`, or resume it; meanwhile no other process can.

    `indifferent` names keys of configuration tables that may differ when a run is resumed. Raises
    RunError where the folder holds another run, is in use, or cannot be written.
    """
    workspace = Workspace(folder, "run", RunError)
    with workspace.locked():
        yield _begin(
            workspace, plain({"format": FORMAT, **about, "n": len(truth)}), truth, indifferent
        )


def _begin(
    workspace: Workspace,
    about: dict[str, Any],
    truth: Sequence[Truth],
    indifferent: Collection[str],
) -> Writer:
    folder = workspace.folder
    if (folder / ABOUT).exists():
        before = Run.open(folder)
        now = _decisive(about, indifferent)
        if "galleries" not in before.about.get("config", {}):
            # Earlier versions noted the last of several galleries only.
            now = {key: now[key] for key in now if not key.startswith("config.galleries.")}
        workspace.require_same(_decisive(before.about, indifferent), now)
        photos = [
            [(row.id, row.location, row.author) for row in run] for run in (before.truth, truth)
        ]
        if photos[0] != photos[1]:
            raise RunError(
                f"{folder} holds a run over other photos. Choose another --out, or delete that"
                " folder."
            )
        _mend(folder / PREDICTIONS)
        return Writer(folder, before.about, list(truth), before.predictions, before.spent_usd)
    if (folder / PREDICTIONS).exists():
        raise RunError(f"{folder} holds a {PREDICTIONS}, but no {ABOUT}. Choose another --out.")
    with replacing(folder / TRUTH) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "lat", "lon", "author"))
        writer.writerows((row.id, row.location.lat, row.location.lon, row.author) for row in truth)
    write_json(folder / ABOUT, about)  # Last: where it exists, the run has begun.
    return Writer(folder, about, list(truth), {})


def _read_lines(path: Path, content: bytes) -> tuple[dict[str, dict[str, Any]], int, float]:
    """The last line of each id, how many bytes are whole lines, and what these have cost."""
    last: dict[str, dict[str, Any]] = {}
    lines = content.splitlines(keepends=True)
    whole, spent = 0, 0.0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line) if line.endswith(b"\n") else None
            if not isinstance(record, dict) or not isinstance(record.get("id"), str):
                raise ValueError("no prediction")
        except ValueError as error:
            if number == len(lines):
                break  # Torn: the process died while it wrote.
            raise RunError(
                f"{path}, line {number} is damaged. Delete that line: its photo is asked for again."
            ) from error
        last[record["id"]] = record
        whole += len(line)
        spent += _cost(record)
    return last, whole, spent


def _cost(record: Mapping[str, Any]) -> float:
    cost = record.get("cost_usd")
    return float(cost) if isinstance(cost, int | float) else 0.0


def _mend(path: Path) -> None:
    """Cut a torn last line off."""
    if not path.exists():
        return
    with path.open("r+b") as file:
        content = file.read()
        _, whole, _ = _read_lines(path, content)
        if whole < len(content):
            file.truncate(whole)


def digest(about: Mapping[str, Any], indifferent: Collection[str] = ()) -> str:
    """SHA-256 of what distinguishes a run."""
    facts = _decisive(plain(about), indifferent)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_DERIVED = (
    *("versions.", "truth.doubts", "truth.left_out", "truth.rows_sha256", "truth.shipped"),
    *("config.gallery.of", "reproduction.", "calibration."),
)
"""Prefixes of names in run.json that follow from others, or do not distinguish a run."""


def _decisive(about: Mapping[str, Any], indifferent: Collection[str]) -> dict[str, Any]:
    """What distinguishes a run, by dotted names; without `indifferent` configuration keys."""
    return {
        name: value
        for name, value in _flat(about).items()
        if not name.startswith(_DERIVED)
        # Earlier versions did not note a gallery's checksum.
        and not (name.startswith("config.galler") and name.endswith(".sha256"))
        and not (name.startswith("config.") and set(indifferent) & set(name.split(".")))
    }


def _flat(content: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}.")
        else:
            flat[f"{above}{name}"] = value
    return flat
