"""The manifest of a gallery, written last, so that where it exists the gallery is whole."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError, first_line

FORMAT = 1
MANIFEST = "manifest.json"
CALIBRATION = "calibration.json"
"""What its rows say of a locator's radius (`index calibrate`)."""
PLAN = "build.json"
"""What is being built in a folder; it is there before the first vector."""


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
    match manifest:
        case {"rows": int(), "encoder": {"name": str(), "table": dict()}}:
            return manifest
    raise GalleryError(
        f"{folder / MANIFEST} does not say how many rows there are, or what encoded them. Build the"
        " gallery again."
    )


def made_from(manifest: Mapping[str, Any]) -> str:
    """What a gallery's vectors encode: "photos", "points" or "texts"."""
    return str(manifest.get("of", "photos"))
