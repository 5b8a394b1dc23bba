"""A path → the source that lies there; several sources → one, which keeps the name of each row's source."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from img2loc.core.errors import SourceError
from img2loc.core.protocols import Source
from img2loc.core.types import Item, Rejected
from img2loc.data.archives import has_archives
from img2loc.data.csv_source import CsvSource, FolderSource, is_photo, unique
from img2loc.data.photo_names import Seen
from img2loc.data.webdataset import PairsSource

_COMPRESSED = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


class Mixture:
    """Several sources, one after the other. Of entries with the same id the first is taken, whichever source it is in.

    `but` gives ids that are taken already, as those of a gallery to which the sources are added.
    Raises SourceError where two sources have one name.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Source]],
        but: Callable[[], Iterable[Sequence[str]]] = tuple,
    ) -> None:
        names = [name for name, _ in sources]
        if len(set(names)) < len(names):
            raise SourceError(
                f"Two sources have one name: {', '.join(sorted(names))}. Give each a name of its"
                " own."
            )
        self._sources, self._but = sources, but
        self.path = sources[0][1].path if len(sources) == 1 else Path("+".join(names))
        parts = [[name, source.fingerprint] for name, source in sources]
        self.fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __len__(self) -> int:
        """About how many entries all have together."""
        return sum(len(source) for _, source in self._sources)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """The entries of the first source, then those of the next."""
        seen = Seen()
        for ids in self._but():
            seen.add(ids)
        for name, source in self._sources:
            for entry in unique(source, seen, "duplicate id: another source or the gallery has it"):
                yield replace(entry, source=name) if isinstance(entry, Item) else entry


def open_source(
    path: Path,
    photos: Path | None = None,
    columns: Mapping[str, str] | None = None,
    licenses: Sequence[str] = (),
) -> Source:
    """The source at a path: archives of pairs, a folder of them or of geotagged photographs, a CSV or Parquet file.

    Raises SourceError.
    """
    if path.suffix.lower() in _COMPRESSED:
        raise SourceError(
            f"{path} is compressed, so that nothing in it can be read in place. Unpack it, and name"
            " what comes out."
        )
    if path.suffix.lower() in (".tar", ".zip") or (path.is_dir() and has_archives(path)):
        if photos or licenses:
            raise SourceError(
                f"{path} holds archives: photos and licenses belong to a CSV. Leave them out, or"
                " name the CSV."
            )
        if path.is_dir() and (
            loose := next((file for file in sorted(path.iterdir()) if is_photo(file)), None)
        ):
            raise SourceError(
                f"{path} holds archives and loose photographs, such as {loose.name}, and only one"
                " kind can be meant. Name the archive, or move either elsewhere."
            )
        return PairsSource(path, columns)
    if path.is_dir():
        if photos or columns or licenses:
            raise SourceError(
                f"{path} is a folder: photos, columns and licenses belong to a CSV. Leave them out."
            )
        return FolderSource(path)
    return CsvSource(path, photos, columns, licenses)
