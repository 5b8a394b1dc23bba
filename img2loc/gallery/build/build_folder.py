"""A gallery's folder while it is built: locked for one process, and for one plan (`build.json`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError
from img2loc.core.files import write_json
from img2loc.core.workspace import Workspace
from img2loc.gallery.manifest import MANIFEST, PLAN, read_manifest

_PLANNED = ("source", "encoder", "of", "part", "views")
"""Keys of a plan that decide the embeddings; the others say what was added since."""


def workspace(folder: Path) -> Workspace:
    """The folder, to be locked while it is written."""
    return Workspace(folder, "gallery", GalleryError)


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What is being built in a folder, or None. Raises GalleryError for a damaged plan."""
    return workspace(folder).read_note(PLAN)


def begin(folder: Path, plan: Mapping[str, Any]) -> None:
    """Note what is being built, or check that it is the same as before. Raises GalleryError."""
    before = read_plan(folder)
    if before is not None:
        planned = {key: before[key] for key in _PLANNED if key in before}
        workspace(folder).require_same(planned, plan)
        return
    if (folder / MANIFEST).exists():
        read_manifest(folder)
        raise GalleryError(
            f"{folder} already holds a gallery that was built elsewhere. Choose another --out."
        )
    if next((folder / "img_emb").glob("*.npy"), None):
        raise GalleryError(
            f"{folder} holds embeddings (img_emb/) that were made elsewhere and would be"
            " overwritten. Choose another --out; img2loc index import builds a gallery from them."
        )
    write_json(folder / PLAN, plan)
