"""A source and an encoder → a gallery, in two halves: embed (costly, resumes at the shard) and index (pure).

The folder holds what clip-retrieval users know: `img_emb/*.npy` with `metadata/*.parquet` beside them, and
then the gallery itself. Killed at any moment, the same command goes on and ends at the same gallery.
"""

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from img2loc.claims import claim, working_on
from img2loc.errors import GalleryError, first_line
from img2loc.gallery import Gallery
from img2loc.geo import Array
from img2loc.manifest import MANIFEST
from img2loc.memory import return_large_blocks
from img2loc.places import country_codes
from img2loc.protocols import Encoder, Source, views_of
from img2loc.shards import Progress, embed, require_tower, shard_paths
from img2loc.tuning import measured, same_coordinates
from img2loc.types import Embeddings, Rejected
from img2loc.vectors import converted, lengths, resolve_spec
from img2loc.verification import checksums

if TYPE_CHECKING:
    import pyarrow as pa


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

    `of` says what is embedded: the "photos", the "points" (by the encoder's location tower) or the "texts" (by its text tower).
    `alias` and `table` are the encoder's name and table in the configuration, so that the gallery can bring it along.
    `progress` is called with how many entries of the source are done. Another `spec` only indexes again. Raises GalleryError
    when the folder holds something else, cannot be written, or is being built by another process.
    """
    require_tower(encoder, alias, of)
    plan = plan_of(source, encoder, of)
    spec = resolve_spec(spec, len(source), of)  # A mistake in it is known before hours of embedding.
    with working_on(folder):
        claim(folder, plan)
        if (folder / MANIFEST).exists():
            try:
                gallery = Gallery.open(folder)
                if gallery.manifest["spec"] == spec:
                    progress(len(source))
                    return gallery
            except GalleryError:
                pass  # Damaged, and made again from its embeddings.
        embed(source, encoder, folder, of, progress)
        stamp = {"name": encoder.name, "alias": alias, "table": dict(table)}
        return index(folder, stamp, spec, {"source": source.path.name, "of": of, **(about or {})})


def plan_of(source: Source, encoder: Encoder, of: str) -> dict[str, Any]:
    """What is noted in a folder before anything is built there."""
    views = views_of(encoder)
    told = {"of": of} if of != "photos" else {"views": views} if views != "single" else {}
    return {"source": source.fingerprint, "encoder": encoder.name, **told}


def index(folder: Path, encoder: Mapping[str, Any], spec: str, about: Mapping[str, Any]) -> Gallery:
    """Make the gallery from the shards in `folder`, and measure how much its index finds."""
    return_large_blocks()
    shards = Shards(folder)
    with (folder / "skipped.csv").open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        lines.writerow(("id", "reason"))
        skipped = sum(1 for entry in shards.rejected() if lines.writerow((entry.id, entry.reason)))
    if not len(shards):
        reasons = "; ".join(commonest_reasons(folder)) or "its source is empty"
        raise GalleryError(f"There is not one usable entry for the gallery {folder}: {reasons}. See skipped.csv there.")
    places = shards.locations()
    ranked = dict(Counter(country_codes(places)).most_common())
    counted = {"skipped": skipped, "countries": ranked, "same_coordinates": same_coordinates(places)}
    return Gallery.build(
        folder,
        shards,
        encoder=encoder,
        rows=len(shards),
        spec=spec,
        about={**about, **counted},
        facts=lambda gallery: {**measured(gallery, shards), "files": checksums(gallery.folder)},
    )


class Shards:
    """The shards of a folder, as batches of unit rows and their tables; can be iterated again and again."""

    def __init__(self, folder: Path, rows: int | None = None) -> None:
        """Raises GalleryError where one is missing, or where there are not as many rows as there should be."""
        numbers = sorted(int(path.stem.rpartition("_")[2]) for path in (folder / "img_emb").glob("*.npy"))
        self._paths = [shard_paths(folder, number) for number in range(numbers[-1] + 1 if numbers else 0)]
        for path in (path for paths in self._paths for path in paths.values()):
            if not path.exists():
                raise GalleryError(f"The shard {path} is gone. Put it back, or delete those of its number and build again.")
        if rows is not None and len(self) != rows:
            raise GalleryError(f"{folder} has embeddings of {len(self):,} rows, and the gallery {rows:,}. Build it again.")

    def __iter__(self) -> Iterator[tuple[Embeddings, "pa.Table"]]:
        """Batches in the source's order."""
        for paths in self._paths:
            try:
                vectors = converted(np.load(paths["img_emb"]), "float32")
            except (EOFError, OSError, ValueError) as error:
                raise _unreadable(paths["img_emb"], error) from error
            if len(vectors):
                vectors /= lengths(vectors)[:, None]
                yield vectors, _read_parquet(paths["metadata"])

    def __len__(self) -> int:
        """Rows in all shards."""
        import pyarrow.parquet as pq
        from pyarrow import ArrowInvalid

        rows = 0
        for path in (paths["metadata"] for paths in self._paths):
            try:
                rows += int(pq.read_metadata(path).num_rows)
            except (OSError, ArrowInvalid) as error:
                raise _unreadable(path, error) from error
        return rows

    def locations(self) -> Array:
        """(lat, lon) of every row, shape (n, 2), degrees."""
        tables = [_read_parquet(paths["metadata"], ["lat", "lon"]) for paths in self._paths]
        pairs = [np.stack([table["lat"].to_numpy(), table["lon"].to_numpy()], axis=1) for table in tables]
        return np.concatenate(pairs) if pairs else np.empty((0, 2))

    def rejected(self) -> Iterator[Rejected]:
        """What was skipped, in the source's order."""
        for paths in self._paths:
            try:
                entries = [Rejected(**entry) for entry in json.loads(paths["skipped"].read_text())]
            except (OSError, ValueError, TypeError) as error:
                raise _unreadable(paths["skipped"], error) from error
            yield from entries


def _read_parquet(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq
    from pyarrow import ArrowInvalid

    try:
        return pq.read_table(path, columns=columns)
    except (OSError, ArrowInvalid) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> GalleryError:
    return GalleryError(f"The shard {path} cannot be read ({first_line(error)}). Delete those of its number and build again.")


def commonest_reasons(folder: Path, most: int = 5) -> list[str]:
    """Why entries were skipped, most frequent first: "12 × no such file"."""
    with (folder / "skipped.csv").open(newline="", encoding="utf-8") as file:
        counts = Counter(re.sub(r"^(line|row) \d+: ", "", row["reason"]) for row in csv.DictReader(file))
    return [f"{count:,} × {reason}" for reason, count in counts.most_common(most)]
