"""A path → the source of photographs there: archives, a folder, or a CSV or Parquet file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from img2loc.core.errors import SourceError
from img2loc.core.protocols import Source
from img2loc.data.archives import has_archives
from img2loc.data.csv_source import CsvSource
from img2loc.data.folder import FolderSource, is_photo
from img2loc.data.webdataset import WebDatasetSource

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


def open_source(
    path: Path,
    photos: Path | None = None,
    columns: Mapping[str, str] | None = None,
    licenses: Sequence[str] = (),
) -> Source:
    """The source at a path: WebDataset archives, a folder of geotagged photographs, or a table.

    Raises SourceError.
    """
    if path.suffix.lower() in _COMPRESSED:
        raise SourceError(
            f"{path} is compressed, so nothing in it can be read in place. Unpack it, and name the"
            " result."
        )
    if path.suffix.lower() in (".tar", ".zip") or (path.is_dir() and has_archives(path)):
        if photos or licenses:
            raise SourceError(
                f"{path} holds archives: photos and licenses belong to a CSV. Omit them, or name"
                " the CSV."
            )
        loose = sorted(filter(is_photo, (file.name for file in path.glob("*") if file.is_file())))
        if loose:
            raise SourceError(
                f"{path} holds archives and loose photographs, such as {loose[0]}: it must be one"
                " or the other. Name the archive, or move either elsewhere."
            )
        return WebDatasetSource(path, columns)
    if path.is_dir():
        if photos or columns or licenses:
            raise SourceError(
                f"{path} is a folder: photos, columns and licenses belong to a CSV. Omit them."
            )
        return FolderSource(path)
    return CsvSource(path, photos, columns, licenses)
