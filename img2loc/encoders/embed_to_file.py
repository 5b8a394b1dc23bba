"""Photographs or points → one .npy of unit vectors in the order of the input; resumes."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core import images
from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.files import write_json
from img2loc.core.protocols import name_for, views_of
from img2loc.core.types import Embedding, Location, Photo, Rejected
from img2loc.core.workspace import Workspace
from img2loc.data.folder import photo_files
from img2loc.data.tables import Table, known_names, open_table

_CHUNK = 512

Progress = Callable[[int], None]


class Inputs:
    """A table of photographs or points, a folder of photographs, or one photograph: rows with ids.

    A table (CSV or Parquet) is of "photos" where its photo column names image files, else of
    "points"; `of` overrides that. Photographs need no coordinates, and nothing is omitted: row i of
    the result is row i of the file. Raises SourceError.
    """

    def __init__(self, path: Path, photos: Path | None = None, of: str | None = None) -> None:
        self.path = path
        self._photos = photos or path.parent
        self._files: list[Path] = []
        self._table: Table | None = None
        if path.is_dir() or path.suffix.lower() in images.SUFFIXES:
            if of == "points":
                raise SourceError(
                    f"{path} holds photographs, not points. Omit --of, or name a table of"
                    " coordinates."
                )
            self.of = "photos"
            self._files = photo_files(path) if path.is_dir() else [path]
            if not self._files:
                raise SourceError(f"The folder {path} holds no photographs.")
            stats = [(str(file), file.stat()) for file in self._files if file.exists()]
            listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
            self.fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
            self._count = len(self._files)
        else:
            self.of = of or ("photos" if _names_photos(path) else "points")
            required = ("photo",) if self.of == "photos" else ("lat", "lon")
            self._table = open_table(path, required, known_names(*required, "id"))
            self.fingerprint = self._table.fingerprint(str(photos or ""))
            self._count = sum(1 for _ in self._table)

    def __len__(self) -> int:
        """Rows."""
        return self._count

    def __iter__(self) -> Iterator[tuple[str, Photo | Location | Rejected]]:
        """Id and content of every row, in order."""
        for file in self._files:
            yield str(file), Photo(file)
        for number, row in enumerate(self._table or ()):
            if isinstance(row, Rejected):
                yield row.id, row
            elif self.of == "photos":
                yield self._photo(*row)
            else:
                yield _point(number, *row)

    def _photo(self, where: str, cell: Mapping[str, str]) -> tuple[str, Photo | Rejected]:
        name = cell["photo"]
        missing = Rejected(where, f"{where}: no photo is named")
        return cell.get("id") or name, Photo(self._photos / name) if name else missing


def _point(number: int, where: str, cell: Mapping[str, str]) -> tuple[str, Location | Rejected]:
    identity = cell.get("id") or str(number)
    try:
        return identity, Location(float(cell["lat"]), float(cell["lon"]))
    except ValueError:
        reason = f"{where}: no point on Earth: lat {cell['lat']!r}, lon {cell['lon']!r}"
        return identity, Rejected(identity, reason)


def embed(
    inputs: Inputs, encoder: Any, out: Path, progress: Progress = lambda done: None
) -> list[tuple[int, str, str]]:
    """Write the vectors to `out`, float32, shape (rows, dim), or resume an earlier call.

    A row that cannot be embedded is all NaN. Returns (row number, id, reason) of those rows; the
    .json beside `out` lists them too, with the encoder's name. Raises ConfigError for an encoder
    without the tower, SourceError where `out` belongs to something else or cannot be written.
    """
    if inputs.of == "points" and not hasattr(encoder, "encode_points"):
        raise ConfigError(
            f"{encoder.name!r} has no location tower to embed points with. Choose --encoder"
            " geoclip."
        )
    note, draft = out.with_suffix(".json"), out.with_name(out.name + ".part")
    plan = {
        "source": inputs.fingerprint,
        "of": inputs.of,
        "encoder": name_for(encoder, inputs.of),
        "rows": len(inputs),
        "dim": encoder.dim,
    }
    plan["views"] = views_of(encoder) if inputs.of == "photos" else "single"
    workspace = Workspace(out.parent, "embedding file", SourceError, file=out.name)
    with workspace.locked():
        state = _state(workspace, note, plan)
        if state["done"] < len(inputs) or not out.exists():
            _fill(inputs, encoder, draft, note, state, progress)
            draft.replace(out)
        progress(len(inputs))
    return [(row["row"], row["id"], row["reason"]) for row in state["skipped"]]


def _state(workspace: Workspace, note: Path, plan: dict[str, Any]) -> dict[str, Any]:
    """How far the file is. Raises SourceError where its note has another plan or is missing."""
    state = workspace.read_note(note.name)
    if state is not None:
        workspace.require_same({key: state[key] for key in plan if key in state}, plan)
        return state
    if workspace.path.exists():
        raise SourceError(
            f"{workspace.path} exists without {note.name}, which says what it holds. Choose another"
            " --out."
        )
    return {**plan, "done": 0, "skipped": []}


def _fill(
    inputs: Inputs, encoder: Any, draft: Path, note: Path, state: dict[str, Any], progress: Progress
) -> None:
    shape = (len(inputs), encoder.dim)
    rows = _resumable(draft, shape) if state["done"] else None
    if rows is None:
        state.update(done=0, skipped=[])
        rows = np.lib.format.open_memmap(draft, "w+", np.float32, shape)
    entries = islice(iter(inputs), state["done"], None)
    while chunk := list(islice(entries, _CHUNK)):
        start = state["done"]
        for at, row in enumerate(_vectors([content for _, content in chunk], encoder, inputs.of)):
            if isinstance(row, Rejected):
                skipped = {"row": start + at, "id": chunk[at][0], "reason": row.reason}
                state["skipped"].append(skipped)
                rows[start + at] = np.nan
            else:
                rows[start + at] = row
        rows.flush()
        state["done"] = start + len(chunk)
        write_json(note, state)
        progress(state["done"])


def _resumable(draft: Path, shape: tuple[int, int]) -> Any:
    """The draft of an earlier call, open for writing; None where it is missing or torn."""
    try:
        rows = np.load(draft, mmap_mode="r+")
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None


def _vectors(
    contents: list[Photo | Location | Rejected], encoder: Any, of: str
) -> Iterator[Embedding | Rejected]:
    """A vector for each row, or why it has none."""
    usable = [content for content in contents if not isinstance(content, Rejected)]
    vectors = iter(encoder.encode_points(usable) if of == "points" else encoder.encode(usable))
    for content in contents:
        row = content if isinstance(content, Rejected) else next(vectors)
        if isinstance(row, Rejected):
            yield row
        elif not 0 < (length := float(np.linalg.norm(row))) < np.inf:
            yield Rejected("", "the model gives it no vector")
        else:  # The mean of several views is shorter than 1.
            yield row / length if length < 1 - 1e-3 else row


def _names_photos(path: Path) -> bool:
    table = open_table(path, (), known_names("photo"))
    first = next((row for row in table if not isinstance(row, Rejected)), None)
    return first is not None and Path(first[1].get("photo", "")).suffix.lower() in images.SUFFIXES
