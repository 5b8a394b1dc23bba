"""Checks that a gallery is what was built: checksums, counts, lengths, coordinates, encoder."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from img2loc.core.errors import GalleryError
from img2loc.gallery.build.build_folder import read_plan
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.kernels import UNIT_TOLERANCE
from img2loc.gallery.index.spec import is_coarse
from img2loc.gallery.index.writer import FILES
from img2loc.gallery.manifest import read_manifest


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a gallery, in hex."""
    digests = {}
    for name in FILES:
        if (folder / name).exists():
            with (folder / name).open("rb") as file:
                digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def problems(folder: Path) -> Iterator[str]:
    """What is wrong with a gallery, one message each."""
    try:
        manifest = read_manifest(folder)
    except GalleryError as error:
        yield str(error)
        return
    expected = manifest.get("files")
    if not isinstance(expected, dict):
        yield f"The manifest of {folder} has no checksums: it was built by an earlier version."
    else:
        yield from _file_problems(folder, expected)
    try:
        gallery = Gallery.open(folder)
    except GalleryError as error:
        yield str(error)
        return
    if gallery.dim != manifest.get("dim"):
        yield f"The vectors have length {gallery.dim}, and the manifest says {manifest.get('dim')}."
    plan = read_plan(folder)
    if plan is not None and plan.get("encoder") != gallery.encoder_name:
        yield (
            f"Its embeddings are by {plan.get('encoder')}, and the manifest says"
            f" {gallery.encoder_name}."
        )
    yield from _row_problems(gallery)


def _file_problems(folder: Path, expected: Mapping[str, object]) -> Iterator[str]:
    digests = checksums(folder)
    for name, digest in expected.items():
        if name not in digests:
            yield f"{name} is missing."
        elif digests[name] != digest:
            yield (
                f"{name} is not the file that was built: its SHA-256 is {digests[name][:12]}…, and"
                f" was {str(digest)[:12]}…"
            )
    for name in digests.keys() - expected.keys():
        yield f"{name} does not belong to this gallery, but would be read."


def _row_problems(gallery: Gallery) -> Iterator[str]:
    # Coarse codes change lengths.
    tolerance = 0.1 if is_coarse(str(gallery.manifest.get("spec"))) else 2 * UNIT_TOLERANCE
    off = 0
    for part in gallery.index.vectors():
        lengths = np.linalg.norm(part.astype(np.float32), axis=1)
        off += int((~(np.abs(lengths - 1) <= tolerance)).sum())  # NaN is off, too.
    if off:
        yield f"{off:,} vectors are not of unit length."
    places = gallery.metadata.locations()
    outside = ~(np.isfinite(places).all(axis=1) & (np.abs(places) <= (90, 180)).all(axis=1))
    if outside.any():
        yield (
            f"{int(outside.sum()):,} rows are not on Earth, the first in row"
            f" {int(np.argmax(outside))}."
        )
    if repeated := gallery.metadata.repeated_ids():
        yield f"{repeated:,} rows have the id of another row."
