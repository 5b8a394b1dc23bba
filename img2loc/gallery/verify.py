"""Checks that a gallery on the disk is what was built: checksums, counts, lengths, coordinates, encoder."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from img2loc.core.errors import GalleryError
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.faiss_files import LENGTH
from img2loc.gallery.index.writer import FILES
from img2loc.gallery.manifest import read_manifest, read_plan


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
        yield from _changed(folder, expected)
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
    yield from _rows(gallery)


def _changed(folder: Path, expected: Mapping[str, object]) -> Iterator[str]:
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


def _rows(gallery: Gallery) -> Iterator[str]:
    # Rounding to eight bits or fewer changes lengths.
    tolerance = 2 * LENGTH if str(gallery.manifest.get("spec")).endswith(("Flat", "fp16")) else 0.1
    off = 0
    for part in gallery.index.vectors():
        off += int(
            (~(np.abs(np.linalg.norm(part.astype(np.float32), axis=1) - 1) <= tolerance)).sum()
        )  # NaN is off, too.
    if off:
        yield f"{off:,} vectors are not of unit length."
    places = gallery.locations()
    outside = ~(np.isfinite(places).all(axis=1) & (np.abs(places) <= (90, 180)).all(axis=1))
    if outside.any():
        yield (
            f"{int(outside.sum()):,} rows are not on Earth, the first in row"
            f" {int(np.argmax(outside))}."
        )
    if repeated := gallery.metadata.repeated_ids():
        yield f"{repeated:,} rows have the id of another row."
