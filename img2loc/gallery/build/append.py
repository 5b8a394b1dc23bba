"""A gallery and more photographs → the gallery with those that are new, by its own encoder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError
from img2loc.core.files import write_json
from img2loc.core.protocols import Encoder, Source, views_of
from img2loc.data.concat import Concat
from img2loc.gallery.build.build_folder import read_plan, workspace
from img2loc.gallery.build.embed_parts import Extent, Progress, embed
from img2loc.gallery.build.pipeline import index
from img2loc.gallery.build.shards import Shards, shard_count
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.manifest import PLAN, read_manifest

_KEPT = ("source", "of", "description", "terms", "imported")
"""Keys of a manifest that say what was built, not what came out."""


def add(
    source: Source,
    encoder: Encoder,
    folder: Path,
    *,
    name: str,
    progress: Progress = lambda done: None,
) -> Gallery:
    """Embed what is new in a source and index the gallery anew, or go on after a break.

    The gallery can be searched until the last step. `name` is the source's, for the new rows.
    Raises GalleryError where the gallery's embeddings are not in its folder, or another addition to
    it is not finished.
    """
    with workspace(folder).locked():
        plan = _plan(folder, encoder)
        addition = _addition(folder, plan, source, name)
        if addition["done"]:
            progress(len(source))
            return Gallery.open(folder)
        after = Extent(*addition["after"])
        new = Concat([(name, source)], taken=Shards.of(folder, after.shards).ids)
        embed(new, encoder, folder, progress=progress, after=after)
        gallery = index(folder, **plan["gallery"])
        addition["done"] = True
        write_json(folder / PLAN, plan)
        return gallery


def stamp_of(folder: Path) -> Mapping[str, Any]:
    """A gallery's encoder, also while it is being indexed anew. Raises GalleryError."""
    plan = read_plan(folder) or {}
    built: Mapping[str, Any] = plan["gallery"] if "gallery" in plan else read_manifest(folder)
    stamp: Mapping[str, Any] = built["encoder"]
    return stamp


def _plan(folder: Path, encoder: Encoder) -> dict[str, Any]:
    """The plan of a gallery to which this encoder's photographs can be added."""
    plan = read_plan(folder)
    if plan is None or not shard_count(folder):
        read_manifest(folder)
        raise GalleryError(
            f"{folder} lacks the embeddings that it was built from (img_emb/, metadata/), so"
            " nothing can be added."
        )
    if plan.get("of", "photos") != "photos":
        raise GalleryError(
            f"{folder} is of {plan['of']}, and only photos can be added. Build another gallery of"
            " them."
        )
    views = plan.get("views", "single")
    for before, now in ((plan["encoder"], encoder.name), (views, views_of(encoder))):
        if before != now:
            raise GalleryError(
                f"{folder} was built by {before}, not by {now}. Add with its own encoder."
            )
    return plan


def _addition(folder: Path, plan: dict[str, Any], source: Source, name: str) -> dict[str, Any]:
    """The plan's entry for this source, noted in the folder if it is new."""
    additions: list[dict[str, Any]] = plan.setdefault("added", [])
    for entry in additions:
        if entry["source"] == source.fingerprint:
            return entry
    if other := next((entry for entry in additions if not entry["done"]), None):
        first = other["after"][0]
        if shard_count(folder) > first:
            raise GalleryError(
                f"An addition of {other['name']} to {folder} is not finished. Finish it first, by"
                f" the same command; or give it up: delete the files numbered {first:05} and above"
                " in img_emb/, metadata/ and skipped/."
            )
        additions.remove(other)
    # The addition survives the manifest, which is replaced when the gallery is indexed anew.
    manifest = read_manifest(folder)
    about = {key: manifest[key] for key in _KEPT if key in manifest}
    plan["gallery"] = {"encoder": manifest["encoder"], "spec": manifest["spec"], "about": about}
    shards = Shards.of(folder, rows=manifest["rows"])  # Complete: new ones are numbered from here.
    after = [len(shards.paths), len(shards)]
    addition = {"source": source.fingerprint, "name": name, "after": after, "done": False}
    additions.append(addition)
    write_json(folder / PLAN, plan)
    return addition
