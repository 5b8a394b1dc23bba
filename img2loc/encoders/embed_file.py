"""Photographs or points → one .npy of unit vectors in the file's order, for other uses.

Goes on where it was cut off.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core import images
from img2loc.core.errors import ConfigError, SourceError
from img2loc.core.files import write_json
from img2loc.core.protocols import views_of
from img2loc.core.types import Embeddings, Location, Photo, Rejected
from img2loc.core.workspace import Workspace
from img2loc.data.folder import photo_files
from img2loc.data.tables import Table, known_names, open_table

_CHUNK = 512

Progress = Callable[[int], None]


class Inputs:
    """The rows of a table of coordinates or of photographs, a folder of photographs, or one photograph, each with its id.

    A table (CSV or Parquet) is of "photos" where its photo column names image files, else of
    "points"; `of` settles it. Unlike the source of a gallery it needs no coordinates for
    photographs, and nothing is left out: row i of the result is row i of the file. Raises
    SourceError.
    """

    def __init__(self, path: Path, photos: Path | None = None, of: str | None = None) -> None:
        self.path = path
        self._photos = photos or path.parent
        self._files: list[Path] = []
        self._table: Table | None = None
        if path.is_dir() or path.suffix.lower() in images.SUFFIXES:
            if of == "points":
                raise SourceError(
                    f"{path} holds photographs, not points. Leave --of out, or name a table of"
                    " coordinates."
                )
            self.of = "photos"
            self._files = photo_files(path) if path.is_dir() else [path]
            if not self._files:
                raise SourceError(f"The folder {path} holds no photographs.")
            listing = [
                (str(file), file.stat().st_size, file.stat().st_mtime_ns)
                for file in self._files
                if file.exists()
            ]
            self.fingerprint = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
            self._count = len(self._files)
            return
        self.of = of or ("photos" if _names_photos(path) else "points")
        self._table = open_table(path, *_ROLES[self.of])
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
                continue
            where, cell = row
            if self.of == "photos":
                name = cell["photo"]
                missing = Rejected(where, f"{where}: no photo is named")
                yield cell.get("id") or name, Photo(self._photos / name) if name else missing
                continue
            identity = cell.get("id") or str(number)
            try:
                yield identity, Location(float(cell["lat"]), float(cell["lon"]))
            except ValueError:
                yield (
                    identity,
                    Rejected(
                        identity,
                        f"{where}: no point on Earth: lat {cell['lat']!r}, lon {cell['lon']!r}",
                    ),
                )


_ROLES = {
    "photos": (("photo",), known_names("photo", "id")),
    "points": (("lat", "lon"), known_names("lat", "lon", "id")),
}
"""The required roles, and all."""


def embed(
    inputs: Inputs, encoder: Any, out: Path, progress: Progress = lambda done: None
) -> list[tuple[int, str, str]]:
    """Write the vectors of `inputs` to `out`, float32, shape (rows, dim), or go on where an earlier call stopped.

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
        "encoder": encoder.name,
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
    """What is done of a file, as its note says.

    Raises SourceError where the note is of another plan, or there is none.
    """
    state = workspace.read_note(note.name)
    if state is not None:
        workspace.require_same({key: state[key] for key in plan if key in state}, plan)
        return state
    if workspace.path.exists():
        raise SourceError(
            f"{workspace.path} exists, and {note.name}, which says what it holds, does not. Choose"
            " another --out."
        )
    return {**plan, "done": 0, "skipped": []}


def _fill(
    inputs: Inputs, encoder: Any, draft: Path, note: Path, state: dict[str, Any], progress: Progress
) -> None:
    shape = (len(inputs), encoder.dim)
    rows = _begun(draft, shape) if state["done"] else None
    if rows is None:
        state.update(done=0, skipped=[])
        rows = np.lib.format.open_memmap(draft, "w+", np.float32, shape)
    entries = islice(iter(inputs), state["done"], None)
    while chunk := list(islice(entries, _CHUNK)):
        start = state["done"]
        vectors, reasons = _vectors(chunk, encoder, inputs.of)
        rows[start : start + len(chunk)] = vectors
        rows.flush()
        state["done"] = start + len(chunk)
        state["skipped"] += [
            {"row": start + at, "id": chunk[at][0], "reason": reason} for at, reason in reasons
        ]
        write_json(note, state)
        progress(state["done"])


def _begun(draft: Path, shape: tuple[int, int]) -> Any:
    """The draft of an earlier call, to be filled on; None for one that is gone or torn."""
    try:
        rows = np.load(draft, mmap_mode="r+")
    except (OSError, ValueError, EOFError):
        return None
    return rows if rows.shape == shape and rows.dtype == np.float32 else None


def _vectors(
    chunk: list[tuple[str, Photo | Location | Rejected]], encoder: Any, of: str
) -> tuple[Embeddings, list[tuple[int, str]]]:
    """One row each, NaN for what has none, and the reasons by place."""
    usable = [
        (at, content) for at, (_, content) in enumerate(chunk) if not isinstance(content, Rejected)
    ]
    made = (
        encoder.encode_points([c for _, c in usable])
        if of == "points"
        else encoder.encode(c for _, c in usable)
    )
    vectors = np.full((len(chunk), encoder.dim), np.nan, np.float32)
    reasons = [
        (at, content.reason)
        for at, (_, content) in enumerate(chunk)
        if isinstance(content, Rejected)
    ]
    for (at, _), vector in zip(usable, made, strict=True):
        length = 0.0 if isinstance(vector, Rejected) else float(np.linalg.norm(vector))
        if isinstance(vector, Rejected):
            reasons.append((at, vector.reason))
        elif not 0 < length < np.inf:
            reasons.append((at, "the model gives it no vector"))
        else:
            vectors[at] = (
                vector / length if length < 1 - 1e-3 else vector
            )  # The mean of several views is shorter.
    return vectors, sorted(reasons)


def _names_photos(path: Path) -> bool:
    table = open_table(path, (), known_names("photo"))
    first = next((row for row in table if not isinstance(row, Rejected)), None)
    return first is not None and Path(first[1].get("photo", "")).suffix.lower() in images.SUFFIXES
