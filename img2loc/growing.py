"""A gallery and more photographs → the gallery with them, by its own encoder; ids that are there already are passed over."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from img2loc.claims import read_plan, working_on
from img2loc.errors import GalleryError
from img2loc.gallery import Gallery
from img2loc.indexing import index
from img2loc.manifest import MANIFEST, PLAN, read_manifest, write_json
from img2loc.mixture import Mixture
from img2loc.protocols import Encoder, Source
from img2loc.shards import Extent, Progress, embed, shard_paths

_KEPT = ("source", "of", "description", "terms", "imported")
"""Keys of a manifest that say what was built, not what came out."""


def add(source: Source, encoder: Encoder, folder: Path, *, name: str, progress: Progress = lambda done: None) -> Gallery:
    """Embed what is new in a source and index the gallery anew, or go on where an earlier call stopped.

    The gallery can be searched until the last step. `name` is the source's, for the new rows. Raises GalleryError where the
    gallery's embeddings are not in its folder, or another addition to it is not finished.
    """
    with working_on(folder):
        plan = read_plan(folder)
        if plan is None or not shard_paths(folder, 0)["img_emb"].exists():
            read_manifest(folder)
            raise GalleryError(
                f"{folder} lacks the embeddings that it was made of (img_emb/, metadata/), so nothing can be added."
            )
        if plan["encoder"] != encoder.name:
            raise GalleryError(f"{folder} was built by {plan['encoder']}, not by {encoder.name}. Add with its own encoder.")
        added = plan.setdefault("added", [])
        this = next((entry for entry in added if entry["source"] == source.fingerprint), None)
        if this is not None and this["done"]:
            progress(len(source))
            return Gallery.open(folder)
        if other := next((entry["name"] for entry in added if not entry["done"] and entry is not this), None):
            raise GalleryError(f"An addition of {other} to {folder} is not finished. Finish it first, by the same command.")
        if this is None:
            manifest = read_manifest(folder)  # The addition survives it: it goes when the gallery is indexed anew.
            gallery = {"encoder": manifest["encoder"], "spec": manifest["spec"], "about": _about(manifest)}
            extent = _extent(folder)
            this = {"source": source.fingerprint, "name": name, "after": [extent.shards, extent.entries], "done": False}
            added.append(this)
            plan["gallery"] = gallery
            write_json(folder / PLAN, plan)
        after = Extent(*this["after"])
        embed(Mixture([(name, source)], but=_Ids(folder, after.shards)), encoder, folder, progress=progress, after=after)
        (folder / MANIFEST).unlink(missing_ok=True)
        kept: Mapping[str, Any] = plan["gallery"]
        gallery_now = index(folder, kept["encoder"], kept["spec"], kept["about"])
        this["done"] = True
        write_json(folder / PLAN, plan)
        return gallery_now


def stamp_of(folder: Path) -> Mapping[str, Any]:
    """The encoder's stamp of a gallery, also while it is being indexed anew. Raises GalleryError."""
    plan = read_plan(folder) or {}
    stamp: Mapping[str, Any] = plan["gallery"]["encoder"] if "gallery" in plan else read_manifest(folder)["encoder"]
    return stamp


class _Ids:
    """The ids in the first shards of a folder, shard by shard."""

    def __init__(self, folder: Path, shards: int) -> None:
        self._folder, self._shards = folder, shards

    def __iter__(self) -> Iterator[list[str]]:
        import pyarrow.parquet as pq

        for number in range(self._shards):
            ids: list[str] = pq.read_table(shard_paths(self._folder, number)["metadata"], columns=["id"])["id"].to_pylist()
            yield ids


def _about(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: manifest[key] for key in _KEPT if key in manifest}


def _extent(folder: Path) -> Extent:
    """The shards that are there, and the rows in them: it only sets how large the next shards are."""
    shards = len(list((folder / "img_emb").glob("*.npy")))
    return Extent(shards, sum(len(ids) for ids in _Ids(folder, shards)))
