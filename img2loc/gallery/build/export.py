"""A gallery's metadata → a Parquet file for other uses."""

from pathlib import Path

from img2loc.core.errors import GalleryError
from img2loc.core.files import replacing
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import schema


def export(gallery: Gallery, out: Path) -> int:
    """Write the metadata, batch by batch; row i belongs to vector i. Returns the number of rows.

    Raises GalleryError where the file cannot be written.
    """
    import pyarrow.parquet as pq

    at = schema().get_field_index("licence")
    columns = schema().set(at, schema().field(at).with_name("license"))
    try:
        with replacing(out) as draft, pq.ParquetWriter(draft, columns) as writer:
            for batch in gallery.metadata.batches():
                writer.write_batch(batch.from_arrays(batch.columns, schema=columns))
    except OSError as error:
        raise GalleryError(
            f"{out} cannot be written ({error.strerror or error}). Choose another place."
        ) from error
    return len(gallery)
