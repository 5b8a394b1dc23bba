"""A gallery and more photographs → the gallery with them, by its own encoder; ids that are there already are passed over."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError
from img2loc.core.files import write_json
from img2loc.core.protocols import Encoder, Source, views_of
from img2loc.data.concat import Concat
from img2loc.gallery.build.embed import Extent, Progress, embed
from img2loc.gallery.build.pipeline import index
from img2loc.gallery.build.shards import Shards, shard_count
from img2loc.gallery.build.workspace import read_plan, workspace
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
    """Embed what is new in a source and index the gallery anew, or go on where an earlier call stopped.

    The gallery can be searched until the last step. `name` is the source's, for the new rows.
    Raises GalleryError where the gallery's embeddings are not in its folder, or another addition to
    it is not finished.
    """
    with workspace(folder).locked():
        plan = read_plan(folder)
        if plan is None or not shard_count(folder):
            read_manifest(folder)
            raise GalleryError(
                f"{folder} lacks the embeddings that it was made of (img_emb/, metadata/), so nothing can be added."
            )
        if plan.get("of", "photos") != "photos":
            raise GalleryError(
                f"{folder} is of {plan['of']}, and only photos can be added. Build another gallery of them."
            )
        views = views_of(encoder)
        for had, has in ((plan["encoder"], encoder.name), (plan.get("views", "single"), views)):
            if had != has:
                raise GalleryError(
                    f"{folder} was built by {had}, not by {has}. Add with its own encoder."
                )
        added = plan.setdefault("added", [])
        this = next((entry for entry in added if entry["source"] == source.fingerprint), None)
        if this is not None and this["done"]:
            progress(len(source))
            return Gallery.open(folder)
        if other := next(
            (entry for entry in added if not entry["done"] and entry is not this), None
        ):
            first = other["after"][0]
            if shard_count(folder) > first:
                raise GalleryError(
                    f"An addition of {other['name']} to {folder} is not finished. Finish it first, by the same command; or give "
                    f"it up: delete the files numbered {first:05} and above in img_emb/, metadata/ and skipped/."
                )
            added.remove(other)
        if this is None:
            manifest = read_manifest(
                folder
            )  # The addition survives it: it goes when the gallery is indexed anew.
            gallery = {
                "encoder": manifest["encoder"],
                "spec": manifest["spec"],
                "about": _about(manifest),
            }
            there = Shards.of(
                folder, rows=manifest["rows"]
            )  # None is missing: new ones are numbered on from them.
            this = {
                "source": source.fingerprint,
                "name": name,
                "after": [len(there.paths), len(there)],
                "done": False,
            }
            added.append(this)
            plan["gallery"] = gallery
            write_json(folder / PLAN, plan)
        after = Extent(*this["after"])
        new = Concat([(name, source)], taken=Shards.of(folder, after.shards).ids)
        embed(new, encoder, folder, progress=progress, after=after)
        gallery_now = index(folder, **plan["gallery"])
        this["done"] = True
        write_json(folder / PLAN, plan)
        return gallery_now


def stamp_of(folder: Path) -> Mapping[str, Any]:
    """The encoder's stamp of a gallery, also while it is being indexed anew.

    Raises GalleryError.
    """
    plan = read_plan(folder) or {}
    stamp: Mapping[str, Any] = (
        plan["gallery"]["encoder"] if "gallery" in plan else read_manifest(folder)["encoder"]
    )
    return stamp


def _about(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in _KEPT if key in manifest}
