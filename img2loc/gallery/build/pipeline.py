"""A source and an encoder → a gallery: embed (costly, resumes at the shard), then index (pure).

The folder holds `img_emb/*.npy` with `metadata/*.parquet` beside them, as clip-retrieval has them,
and then the gallery itself. Killed at any moment, the same command ends at the same gallery.
"""

import csv
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from img2loc.core.errors import GalleryError
from img2loc.core.places import country_codes
from img2loc.core.protocols import Encoder, Source, name_for
from img2loc.gallery.build.build_folder import begin, workspace
from img2loc.gallery.build.embed_parts import Progress, embed, plan_of, require_tower
from img2loc.gallery.build.shards import Shards
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index.spec import resolve_spec
from img2loc.gallery.index_recall import measure, same_coordinates
from img2loc.gallery.manifest import MANIFEST
from img2loc.gallery.verify import checksums


def build(
    source: Source,
    encoder: Encoder,
    folder: Path,
    *,
    alias: str,
    table: Mapping[str, Any],
    of: str = "photos",
    spec: str = "auto",
    about: Mapping[str, Any] | None = None,
    progress: Progress = lambda done: None,
) -> Gallery:
    """Embed a source and index it into `folder`, or go on where an earlier call stopped.

    `of` says what is embedded: the "photos", the "points" (by the encoder's location tower) or the
    "texts" (by its text tower). `alias` and `table` are the encoder's name and table in the
    configuration, stored with the gallery. `progress` is called with how many entries of the source
    are done. Another `spec` only indexes again. Raises GalleryError when the folder holds something
    else, cannot be written, or is being built by another process.
    """
    require_tower(encoder, alias, of)
    spec = resolve_spec(spec, len(source), of)  # A mistake in it is shown before hours of work.
    with workspace(folder).locked():
        begin(folder, plan_of(source, encoder, of))
        if (folder / MANIFEST).exists():
            try:
                gallery = Gallery.open(folder)
                if gallery.manifest["spec"] == spec:
                    progress(len(source))
                    return gallery
            except GalleryError:
                pass  # Damaged, and built again from its embeddings.
        embed(source, encoder, folder, of, progress)
        stamp = {"name": name_for(encoder, of), "alias": alias, "table": dict(table)}
        return index(folder, stamp, spec, {"source": source.path.name, "of": of, **(about or {})})


def index(folder: Path, encoder: Mapping[str, Any], spec: str, about: Mapping[str, Any]) -> Gallery:
    """Build the gallery from the shards in `folder`, and measure its recall."""
    shards = Shards.of(folder)
    with (folder / "skipped.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "reason"))
        skipped = sum(1 for entry in shards.rejected() if lines.writerow((entry.id, entry.reason)))
    if not len(shards):
        reasons = "; ".join(commonest_reasons(folder)) or "its source is empty"
        raise GalleryError(
            f"There is not one usable entry for the gallery {folder}: {reasons}. See skipped.csv"
            " there."
        )
    places = shards.locations()
    counts = {
        "skipped": skipped,
        "countries": dict(Counter(country_codes(places)).most_common()),
        "same_coordinates": same_coordinates(places),
    }
    return Gallery.build(
        folder,
        shards,
        encoder=encoder,
        rows=len(shards),
        spec=spec,
        about={**about, **counts},
        facts=lambda gallery: {**measure(gallery, shards), "files": checksums(gallery.folder)},
    )


def commonest_reasons(folder: Path, most: int = 5) -> list[str]:
    """Why entries were skipped, most frequent first: "12 × no such file"."""
    with (folder / "skipped.csv").open(newline="", encoding="utf-8") as file:
        reasons = (row["reason"] for row in csv.DictReader(file))
        counts = Counter(re.sub(r"^(line|row) \d+: ", "", reason) for reason in reasons)
    return [f"{count:,} × {reason}" for reason, count in counts.most_common(most)]
