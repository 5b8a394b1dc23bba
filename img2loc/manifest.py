"""The manifest of a gallery: what made it. It is written last, so where it exists the gallery is whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.errors import GalleryError, first_line

FORMAT = 1
MANIFEST = "manifest.json"
PLAN = "build.json"
"""What is being built in a folder; it is there before the first vector."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a gallery. Raises GalleryError with what to run where there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        if (folder / PLAN).exists():
            raise GalleryError(f"The gallery {folder} is only half-built. Run the same `img2loc index build` again.") from error
        raise GalleryError(
            f"There is no gallery at {folder}. Build one: img2loc index build PHOTOS.csv --out {folder}"
        ) from error
    except (OSError, ValueError) as error:
        raise GalleryError(f"{folder / MANIFEST} cannot be read ({first_line(error)}). Build the gallery again.") from error
    if not isinstance(manifest, dict):
        raise GalleryError(f"{folder / MANIFEST} is no manifest. Build the gallery again.")
    if manifest.get("format") != FORMAT:
        raise GalleryError(
            f"The gallery {folder} has format {manifest.get('format')}, this version reads {FORMAT}. Build it again."
        )
    stamp = manifest.get("encoder")
    stamped = isinstance(stamp, dict) and isinstance(stamp.get("name"), str) and isinstance(stamp.get("table"), dict)
    if not stamped or not isinstance(manifest.get("rows"), int):
        raise GalleryError(
            f"{folder / MANIFEST} does not say how many rows there are, or what encoded them. Build the gallery again."
        )
    return manifest


def made_from(manifest: Mapping[str, Any]) -> str:
    """What a gallery's vectors were made from: "photos", "points" (by a location tower) or "texts" (by a text tower)."""
    return str(manifest.get("of", "photos"))


def read_plan(folder: Path) -> dict[str, Any] | None:
    """What is being built in a folder; None where nothing is. Raises GalleryError for a note that cannot be read."""
    try:
        plan: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return None
    except ValueError as error:
        raise GalleryError(f"{folder / PLAN} cannot be read. Choose another --out, or delete that folder.") from error
    if not isinstance(plan, dict):
        raise GalleryError(f"{folder / PLAN} is no note of a build. Choose another --out, or delete that folder.")
    return plan


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)
