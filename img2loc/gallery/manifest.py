"""The manifest of a gallery, written last, so that where it exists the gallery is whole; and the plan, written first."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError, first_line
from img2loc.core.files import write_json
from img2loc.core.workspace import Workspace

FORMAT = 1
MANIFEST = "manifest.json"
PLAN = "build.json"
"""What is being built in a folder; it is there before the first vector."""
_PLANNED = ("source", "encoder", "of", "part", "views")
"""Keys of a plan that decide the embeddings; the others say what was added since."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a gallery. Raises GalleryError with what to run where there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / PLAN).exists():
            raise GalleryError(
                f"The gallery {folder} is only half-built. Run the same `img2loc index build`"
                " again."
            ) from error
        raise GalleryError(
            f"There is no gallery at {folder}. Build one: img2loc index build PHOTOS.csv --out"
            f" {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise GalleryError(
            f"{folder / MANIFEST} cannot be read ({first_line(error)}). Build the gallery again."
        ) from error
    if not isinstance(manifest, dict):
        raise GalleryError(f"{folder / MANIFEST} is no manifest. Build the gallery again.")
    if manifest.get("format") != FORMAT:
        raise GalleryError(
            f"The gallery {folder} has format {manifest.get('format')}, this version reads"
            f" {FORMAT}. Build it again."
        )
    stamp = manifest.get("encoder")
    stamped = (
        isinstance(stamp, dict)
        and isinstance(stamp.get("name"), str)
        and isinstance(stamp.get("table"), dict)
    )
    if not stamped or not isinstance(manifest.get("rows"), int):
        raise GalleryError(
            f"{folder / MANIFEST} does not say how many rows there are, or what encoded them. Build"
            " the gallery again."
        )
    return manifest


def made_from(manifest: Mapping[str, Any]) -> str:
    """What a gallery's vectors were made from: "photos", "points" (by a location tower) or "texts" (by a text tower)."""
    return str(manifest.get("of", "photos"))


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What is being built in a folder;

    None where nothing is. Raises GalleryError for a note that cannot be read.
    """
    return workspace(folder).read_note(PLAN)


def workspace(folder: Path) -> Workspace:
    """The folder of a gallery, to be locked while it is written."""
    return Workspace(folder, "gallery", GalleryError)


def begin(folder: Path, plan: Mapping[str, Any]) -> None:
    """Note what is being built here, or check that it is the same as before.

    Raises GalleryError.
    """
    before = read_plan(folder)
    if before is not None:
        workspace(folder).require_same(
            {key: before[key] for key in _PLANNED if key in before}, plan
        )
        return
    if (folder / MANIFEST).exists():
        read_manifest(folder)
        raise GalleryError(
            f"{folder} already holds a gallery that was built elsewhere. Choose another --out."
        )
    if next((folder / "img_emb").glob("*.npy"), None):
        raise GalleryError(
            f"{folder} holds embeddings (img_emb/) that were made elsewhere and would be"
            " overwritten. Choose another --out; img2loc index import makes a gallery of them."
        )
    write_json(folder / PLAN, plan)
