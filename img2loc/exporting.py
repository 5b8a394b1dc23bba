"""A gallery's metadata → a Parquet file for other uses."""

from contextlib import suppress
from pathlib import Path

from img2loc.errors import GalleryError
from img2loc.gallery import Gallery
from img2loc.rows import schema


def export(gallery: Gallery, out: Path) -> int:
    """Write the metadata, batch by batch; row i belongs to vector i. Returns the number of rows.

    Raises GalleryError where the file cannot be written.
    """
    import pyarrow.parquet as pq

    draft = out.with_name(out.name + ".part")
    try:
        with pq.ParquetWriter(draft, schema()) as writer:
            for batch in gallery.metadata.batches():
                writer.write_batch(batch)
        draft.replace(out)
    except OSError as error:
        raise GalleryError(f"{out} cannot be written ({error.strerror or error}). Choose another place.") from error
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
    return len(gallery)
