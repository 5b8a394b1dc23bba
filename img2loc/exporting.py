"""A gallery's rows → a Parquet file for other uses."""

from pathlib import Path

from img2loc.errors import GalleryError
from img2loc.files import replacing
from img2loc.gallery import Gallery
from img2loc.rows import COLUMNS, ROWS
from img2loc.rows import schema as rows_schema


def export(gallery: Gallery, out: Path) -> int:
    """Write the rows, batch by batch; row i belongs to vector i. Returns how many. Raises GalleryError where that cannot be.

    A gallery that was built before rows kept their source's name has the name of the whole there.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    usual = str(gallery.manifest.get("source", ""))
    schema = rows_schema()
    try:
        with (
            replacing(out) as draft,
            pa.memory_map(str(gallery.folder / ROWS)) as file,
            pq.ParquetWriter(draft, schema) as writer,
        ):
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                columns = [
                    batch[name] if name in batch.schema.names else pa.array([usual] * batch.num_rows, pa.string())
                    for name in COLUMNS
                ]
                writer.write_batch(pa.record_batch(columns, schema=schema))
    except OSError as error:
        raise GalleryError(f"{out} cannot be written ({error.strerror or error}). Choose another place.") from error
    return len(gallery)
