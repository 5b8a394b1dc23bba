"""Parts of a build, embedded on several machines → the gallery that one machine builds."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError
from img2loc.core.files import replacing
from img2loc.data.photo_names import SeenIds
from img2loc.gallery.build.build_folder import begin, read_plan, workspace
from img2loc.gallery.build.embed_parts import PART
from img2loc.gallery.build.pipeline import index
from img2loc.gallery.build.shards import Shards, shard_paths
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.manifest import PLAN


def merge(folders: Sequence[Path], out: Path) -> Gallery:
    """Put the parts in `folders` together in `out`, by links where the disk allows it, and index.

    Raises GalleryError where a part is missing, unfinished or there twice, where they are of
    another source or encoder, where a shard is missing, and where one photograph is in two shards.
    """
    notes = [_note(folder) for folder in folders]
    _require_one_build(folders, notes)
    by_part = {note["part"][0]: folder for folder, note in zip(folders, notes, strict=True)}
    first = notes[0]
    count = first["part"][1]
    shards = Shards(
        [shard_paths(by_part[number % count + 1], number) for number in range(first["shards"])]
    )
    _require_whole(shards, first["dim"])
    with workspace(out).locked():
        begin(out, _plan(folders[0]))
        for number, paths in enumerate(shards.paths):
            for kind, path in shard_paths(out, number).items():
                _link(paths[kind], path)
        return index(out, first["encoder"], first["spec"], first["about"])


def _note(folder: Path) -> dict[str, Any]:
    note = workspace(folder).read_note(PART)
    if note is None:
        plan = read_plan(folder)
        if plan is not None and "part" in plan:
            raise GalleryError(
                f"{folder} is part {plan['part']}, and not finished. Run its `img2loc index build"
                f" --part {plan['part']}` again."
            )
        raise GalleryError(
            f"{folder} holds no part of a gallery. Build one: img2loc index build SOURCE --part 1/2"
            " --out DIR"
        )
    if not {"part", "shards", "entries", "dim", "spec", "encoder", "about"} <= set(note):
        raise GalleryError(
            f"{folder / PART} cannot be read. Run its `img2loc index build --part` again."
        )
    return note


def _require_one_build(folders: Sequence[Path], notes: Sequence[Mapping[str, Any]]) -> None:
    first, note = folders[0], notes[0]
    plan, count = _plan(first), note["part"][1]
    for folder, other in zip(folders[1:], notes[1:], strict=True):
        other_plan = _plan(folder)
        for key in sorted({*other_plan, *plan}):
            if other_plan.get(key) != plan.get(key):
                raise GalleryError(
                    f"{folder} is of another {key} than {first}. Merge parts of one build."
                )
        if other["spec"] != note["spec"]:
            raise GalleryError(
                f"{folder} is for the index {other['spec']}, {first} for {note['spec']}. Run one"
                " part again with the other's --spec: its embeddings stay."
            )
        if other["part"][1] != count:
            raise GalleryError(f"{folder} is one of {other['part'][1]} parts, {first} of {count}.")
        if (other["shards"], other["entries"]) != (note["shards"], note["entries"]):
            raise GalleryError(
                f"{folder} saw {other['entries']:,} entries, {first} {note['entries']:,}: embed one"
                " again."
            )
    given = [other["part"][0] for other in notes]
    if repeated := sorted({number for number in given if given.count(number) > 1}):
        raise GalleryError(f"Part {repeated[0]}/{count} is there twice. Name each part once.")
    if missing := [f"{number}/{count}" for number in range(1, count + 1) if number not in given]:
        raise GalleryError(
            f"Of {count} parts these are missing: {', '.join(missing)}. Embed them, and name all."
        )


def _plan(folder: Path) -> dict[str, Any]:
    """What was built in a part's folder, but for which part it is. Raises GalleryError."""
    plan = read_plan(folder)
    if plan is None:
        raise GalleryError(
            f"{folder} has no {PLAN}, which says what it is of. Run its `img2loc index build"
            " --part` again."
        )
    return {key: value for key, value in plan.items() if key != "part"}


def _require_whole(shards: Shards, dim: int) -> None:
    """Raise GalleryError where vectors and rows differ in number, or a photo is in two shards."""
    seen = SeenIds()
    for paths, shape, ids in zip(shards.paths, shards.shapes(), shards.ids(), strict=True):
        if shape != (len(ids), dim):
            raise GalleryError(
                f"The shard {paths['img_emb']} has vectors of shape {shape} for {len(ids)} rows of"
                f" {dim}. Delete it, and run that part's build again."
            )
        repeated = [name for name, known in zip(ids, seen.add(ids), strict=True) if known]
        if repeated:
            raise GalleryError(
                f"The photo {repeated[0]} is in two shards: {paths['img_emb']} and one before it."
                " Embed these parts again."
            )
    for _ in shards.rejected():  # A damaged list is reported before anything is written.
        pass


def _link(file: Path, to: Path) -> None:
    if to.exists():
        return
    to.parent.mkdir(exist_ok=True)
    try:
        os.link(file, to)
    except OSError:  # Another disk, or one without links.
        with replacing(to) as draft:
            shutil.copyfile(file, draft)
