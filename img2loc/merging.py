"""Parts of one build, each embedded on a machine of its own → one folder, the same as if one machine had done it all."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2loc.claims import claim, working_on
from img2loc.errors import GalleryError
from img2loc.gallery import Gallery
from img2loc.identity import Seen
from img2loc.indexing import index, plan_of
from img2loc.manifest import PLAN, read_plan, write_json
from img2loc.protocols import Encoder, Source
from img2loc.shards import Part, Progress, embed, is_whole, require_tower, shard_paths
from img2loc.vectors import resolve_spec

PART = "part.json"
"""Written when a part is whole: what the merged gallery needs to know."""


def embed_part(
    source: Source,
    encoder: Encoder,
    folder: Path,
    part: Part,
    *,
    alias: str,
    table: Mapping[str, Any],
    of: str = "photos",
    spec: str = "auto",
    about: Mapping[str, Any] | None = None,
    progress: Progress = lambda done: None,
) -> int:
    """Embed a part of a source into a folder of its own, or go on there; returns how many shards it has. See `indexing.build`."""
    require_tower(encoder, alias, of)
    spec = resolve_spec(spec, len(source), of)
    with working_on(folder):
        claim(folder, {**plan_of(source, encoder, of), "part": str(part)})
        extent = embed(source, encoder, folder, of, progress, part)
        whole = {"shards": extent.shards, "entries": extent.entries, "dim": encoder.dim, "spec": spec}
        stamp = {"name": encoder.name, "alias": alias, "table": dict(table)}
        facts = {"source": source.path.name, "of": of, **(about or {})}
        write_json(folder / PART, {"part": [part.number, part.of], **whole, "encoder": stamp, "about": facts})
    return sum(part.has(number) for number in range(extent.shards))


def merge(folders: Sequence[Path], out: Path) -> Gallery:
    """Put the parts in `folders` together in `out`, and make the gallery; their files are linked where the disk allows it.

    Raises GalleryError where a part is missing, unfinished or there twice, where they are of another source or encoder, where a
    shard has vanished, and where one photograph is in two shards.
    """
    notes = [_note(folder) for folder in folders]
    _require_one_build(folders, notes)
    owner = {note["part"][0]: folder for folder, note in zip(folders, notes, strict=True)}
    first = notes[0]
    of, shards = first["part"][1], first["shards"]
    places = [shard_paths(owner[number % of + 1], number) for number in range(shards)]
    _require_whole(places, first["dim"])
    with working_on(out):
        claim(out, _plan(folders[0]))
        for number, paths in enumerate(places):
            there = shard_paths(out, number)
            for kind in ("skipped", "metadata", "img_emb"):
                _link(paths[kind], there[kind])
        return index(out, first["encoder"], first["spec"], first["about"])


def _note(folder: Path) -> dict[str, Any]:
    try:
        note: dict[str, Any] = json.loads((folder / PART).read_text(encoding="utf-8"))
    except OSError as error:
        plan = read_plan(folder)
        if plan is not None and "part" in plan:
            raise GalleryError(
                f"{folder} is part {plan['part']}, and not finished. Run its `img2loc index build --part {plan['part']}` again."
            ) from error
        raise GalleryError(
            f"{folder} holds no part of a gallery. Make one: img2loc index build SOURCE --part 1/2 --out DIR"
        ) from error
    except ValueError:
        note = {}
    if not isinstance(note, dict) or not {"part", "shards", "entries", "dim", "spec", "encoder", "about"} <= set(note):
        raise GalleryError(f"{folder / PART} cannot be read. Run its `img2loc index build --part` again.")
    return note


def _require_one_build(folders: Sequence[Path], notes: Sequence[Mapping[str, Any]]) -> None:
    plans = [_plan(folder) for folder in folders]
    for folder, note, plan in zip(folders, notes, plans, strict=True):
        for key in sorted({*plan, *plans[0]}):
            if plan.get(key) != plans[0].get(key):
                raise GalleryError(f"{folder} is of another {key} than {folders[0]}. Merge parts of one build.")
        if note["spec"] != notes[0]["spec"]:
            raise GalleryError(
                f"{folder} is for the index {note['spec']}, {folders[0]} for {notes[0]['spec']}. Run one part again with the "
                "other's --spec: its embeddings stay."
            )
        if note["part"][1] != notes[0]["part"][1]:
            raise GalleryError(f"{folder} is one of {note['part'][1]} parts, {folders[0]} of {notes[0]['part'][1]}.")
        if (note["shards"], note["entries"]) != (notes[0]["shards"], notes[0]["entries"]):
            raise GalleryError(
                f"{folder} saw {note['entries']:,} entries, {folders[0]} {notes[0]['entries']:,}: embed one again."
            )
    of = notes[0]["part"][1]
    given = [note["part"][0] for note in notes]
    if twice := sorted({number for number in given if given.count(number) > 1}):
        raise GalleryError(f"Part {twice[0]}/{of} is there twice. Name each part once.")
    if missing := [f"{number}/{of}" for number in range(1, of + 1) if number not in given]:
        raise GalleryError(f"Of {of} parts these are missing: {', '.join(missing)}. Embed them, and name all.")


def _plan(folder: Path) -> dict[str, Any]:
    """What was built in a part's folder, but for which part it is. Raises GalleryError."""
    plan = read_plan(folder)
    if plan is None:
        raise GalleryError(f"{folder} has no {PLAN}, which says what it is of. Run its `img2loc index build --part` again.")
    return {key: value for key, value in plan.items() if key != "part"}


def _require_whole(places: Sequence[Mapping[str, Path]], dim: int) -> None:
    """Every shard with as many vectors as rows, and no photograph twice."""
    import numpy as np
    import pyarrow.parquet as pq

    seen = Seen()
    for paths in places:
        path = paths["img_emb"]
        if not is_whole(paths):
            raise GalleryError(f"The shard {path} has vanished. Run that part's `img2loc index build --part` again.")
        try:
            ids = pq.read_table(paths["metadata"], columns=["id"])["id"].to_pylist()
            shape = np.load(path, mmap_mode="r").shape
            json.loads(paths["skipped"].read_text())
        except (ValueError, OSError, EOFError, KeyError) as error:
            raise GalleryError(f"The shard {path} is damaged. Delete it, and run that part's build again.") from error
        if shape != (len(ids), dim):
            raise GalleryError(
                f"The shard {path} has vectors of shape {shape} for {len(ids)} rows of {dim}. Delete it, and go on."
            )
        if twice := next((i for i, there in zip(ids, seen.add(ids), strict=True) if there), None):
            raise GalleryError(f"The photo {twice} is in two shards: {path} and one before it. Embed these parts again.")


def _link(file: Path, to: Path) -> None:
    if to.exists():
        return
    to.parent.mkdir(exist_ok=True)
    try:
        os.link(file, to)
    except OSError:  # Another disk, or one that knows no links.
        draft = to.with_suffix(".tmp")
        shutil.copyfile(file, draft)
        draft.replace(to)
