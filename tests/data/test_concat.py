"""Several sources as one: names kept, duplicates counted."""

from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Rejected
from img2loc.data.concat import Concat
from img2loc.data.csv_source import CsvSource
from tests.archives import (
    make_mp16,
    mp16_name,
    write_table,
)


def test_of_two_sources_the_first_has_the_photo_and_each_row_its_source(tmp_path: Path) -> None:
    """MP-16's ids with slashes in one source, underscores in the other: the same photographs."""
    folder = make_mp16(tmp_path / "mp16", range(1, 6))
    more = write_table(
        tmp_path / "more.csv",
        ["file", "lat", "lon"],
        [(mp16_name(n).replace("/", "_"), 1, n) for n in (4, 5, 6)],
    )
    first = CsvSource(folder / "metadata" / "MP16_Pro_filtered.csv", folder)
    mixture = Concat(
        [("mp16", first), ("more", CsvSource(more))],
        taken=lambda: [[mp16_name(1).replace("/", "_")]],
    )
    found = list(mixture)
    assert [(entry.id, entry.source) for entry in found if isinstance(entry, Item)] == [
        *((mp16_name(n), "mp16") for n in (5, 4, 3, 2)), (mp16_name(6).replace("/", "_"), "more"),
    ]  # fmt: skip
    duplicates = [entry.id for entry in found if isinstance(entry, Rejected)]
    assert duplicates == [mp16_name(1), *(mp16_name(n).replace("/", "_") for n in (4, 5))]
    assert len(mixture) == 8
    with pytest.raises(SourceError, match="Two sources have the same name"):
        Concat([("a", first), ("a", first)])
