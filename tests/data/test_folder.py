"""Folders of geotagged photographs."""

from pathlib import Path

import pytest
from PIL import Image

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Rejected
from img2loc.data.folder import FolderSource
from img2loc.data.source_from_path import open_source
from tests.conftest import MakePhoto


def test_a_folder_of_geotagged_photos(tmp_path: Path, make_photo: MakePhoto) -> None:
    make_photo("album/b.jpg", exif=gps_exif(33.8568, 151.2153, "S", "E"))
    make_photo("album/sub/a.jpg", exif=gps_exif(22.9519, 43.2105, "S", "W"))
    make_photo("album/plain.jpg")
    make_photo("album/.hidden/c.jpg", exif=gps_exif(1, 1, "N", "E"))
    (tmp_path / "album" / "broken.jpg").write_bytes(b"no")
    (tmp_path / "album" / "notes.txt").write_text("x")
    found = list(open_source(tmp_path / "album"))
    assert [entry.id for entry in found] == ["b.jpg", "broken.jpg", "plain.jpg", "sub/a.jpg"]
    first, broken, plain, last = found
    assert isinstance(first, Item)
    assert isinstance(last, Item)
    assert (first.location.lat, first.location.lon) == pytest.approx((-33.8568, 151.2153), abs=1e-4)
    assert (last.location.lat, last.location.lon) == pytest.approx((-22.9519, -43.2105), abs=1e-4)
    assert plain == Rejected("plain.jpg", "no GPS position in its EXIF")
    assert isinstance(broken, Rejected)


def test_an_empty_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no photographs"):
        FolderSource(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        {2: (0.0, 0.0, 0.0), 4: (0.0, 0.0, 0.0)},
        {2: (400.0, 0.0, 0.0), 4: (1.0, 0.0, 0.0)},
        {2: (1.0,), 4: (200.0, 0.0, 0.0)},
    ],
)
def test_damaged_positions_are_no_positions(make_photo: MakePhoto, bad: dict[int, object]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825).update(bad)
    photo = make_photo(exif=exif)
    (entry,) = FolderSource(photo.parent)
    assert isinstance(entry, Rejected)


def gps_exif(lat: float, lon: float, north: str, east: str) -> Image.Exif:
    def parts(angle: float) -> tuple[float, float, float]:
        minutes = angle % 1 * 60
        return float(int(angle)), float(int(minutes)), minutes % 1 * 60

    exif = Image.Exif()
    exif.get_ifd(0x8825).update({1: north, 2: parts(lat), 3: east, 4: parts(lon)})
    return exif
