"""Photographs by the name that a table gives them, wherever they lie."""

import zipfile
from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Photo, Rejected
from img2loc.data.csv_source import CsvSource
from img2loc.data.photo_store import MISSING, Store
from tests.archives import make_mp16, mp16_name, photo_bytes, write_table, write_tar, write_zip


def bytes_of(photo: Photo | str) -> bytes | None:
    return (
        None
        if isinstance(photo, str)
        else photo.data()
        if callable(photo.data)
        else photo.path.read_bytes()
    )


def test_folders_and_underscores_are_the_same_name(tmp_path: Path) -> None:
    store = Store(make_mp16(tmp_path, range(1, 20)))
    names = [
        mp16_name(3),
        mp16_name(4).replace("/", "_"),
        mp16_name(99),
        mp16_name(19).removesuffix(".jpg"),
    ]
    assert [bytes_of(photo) for photo in store.find(names)] == [
        photo_bytes(3),
        photo_bytes(4),
        None,
        photo_bytes(19),
    ]


@pytest.mark.parametrize("inside", ["{}", "photos/{}", "deep/er/photos/{}"])
def test_folders_above_are_left_out_of_the_name_or_not(tmp_path: Path, inside: str) -> None:
    names = [f"{folder}/{n}.jpg" for folder in ("a", "b") for n in range(3)]
    write_tar(tmp_path / "t.tar", {inside.format(name): name.encode() for name in names})
    assert [bytes_of(photo) for photo in Store(tmp_path).find(names)] == [
        name.encode() for name in names
    ]


def test_folders_that_only_the_table_names_are_left_out(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "t.tar",
        {f"{folder}/{n}.jpg": f"{folder}{n}".encode() for folder in "ab" for n in range(3)},
    )
    names = [f"/data/photos/{folder}/{n}.jpg" for n in range(3) for folder in "ab"]
    found = [bytes_of(photo) for photo in Store(tmp_path).find(names)]
    assert found == [f"{folder}{n}".encode() for n in range(3) for folder in "ab"]


def test_first_names_that_are_not_there_decide_nothing(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", {f"photos/{n % 7}/{n}.jpg": bytes([n]) for n in range(20)})
    store = Store(tmp_path)
    assert store.find([]) == []
    assert store.find([f"9/none{n}.jpg" for n in range(100)]) == [MISSING] * 100
    assert [bytes_of(photo) for photo in store.find([f"{n % 7}/{n}.jpg" for n in range(20)])] == [
        bytes([n]) for n in range(20)
    ]


def test_a_name_that_several_photographs_have_is_nobodys(tmp_path: Path) -> None:
    """A row must not get another place's photograph; copies of one are no matter."""
    files = {
        "paris/1.jpg": b"12",
        "london/1.jpg": b"345",
        "paris/2.jpg": b"6",
        "copies/2.jpg": b"6",
        "paris/3.jpg": b"7",
    }
    write_tar(tmp_path / "t.tar", files)
    several, *others = Store(tmp_path).find(["1.jpg", "2.jpg", "3.jpg"])
    assert isinstance(several, str)
    assert "several photographs have this name" in several
    assert [bytes_of(photo) for photo in others] == [b"6", b"7"]
    assert bytes_of(Store(tmp_path).find(["london/1.jpg"])[0]) == b"345"


def test_what_lies_beside_a_photograph_under_its_name_is_none(tmp_path: Path) -> None:
    files = {
        f"{n:03}{suffix}": suffix.encode() for n in range(4) for suffix in (".cls", ".jpg", ".json")
    }
    write_tar(tmp_path / "t.tar", files)
    assert [bytes_of(photo) for photo in Store(tmp_path).find(["000", "003"])] == [b".jpg"] * 2
    write_tar(tmp_path / "words" / "t.tar", {"a.json": b"{}", "a.txt": b""})
    with pytest.raises(SourceError, match="holds no photographs"):
        Store(tmp_path / "words")


def test_numbers_after_a_dot_are_part_of_a_name(tmp_path: Path) -> None:
    names = [f"48.85{n}_2.35{n}" for n in range(4)]
    write_tar(tmp_path / "t.tar", {f"{name}.jpg": name.encode() for name in names})
    assert [bytes_of(photo) for photo in Store(tmp_path).find(names)] == [
        name.encode() for name in names
    ]


def test_loose_photographs_with_underscores_are_found_by_ids_with_folders(tmp_path: Path) -> None:
    """MP-16's tar unpacked: its table has folders in the ids, the files have none."""
    (tmp_path / "images").mkdir()
    for seed in range(3):
        (tmp_path / "images" / mp16_name(seed).replace("/", "_")).write_bytes(photo_bytes(seed))
    table = write_table(
        tmp_path / "t.csv",
        ["IMG_ID", "LAT", "LON"],
        [(mp16_name(seed), 1, seed + 1) for seed in range(3)],
    )
    items = [entry for entry in CsvSource(table, tmp_path / "images") if isinstance(entry, Item)]
    assert [bytes_of(item.photo) for item in items] == [photo_bytes(seed) for seed in range(3)]


def test_flickrs_number_is_enough(tmp_path: Path) -> None:
    write_zip(
        tmp_path / "t.zip",
        {f"{4_763_369_500 + n}_7410c654ba_19_1@N00.jpg": bytes([n]) for n in range(5)},
    )
    assert [bytes_of(photo) for photo in Store(tmp_path).find([mp16_name(2), mp16_name(0)])] == [
        b"\2",
        b"\0",
    ]


def test_street_views_loose_and_zipped_are_found_by_number(tmp_path: Path) -> None:
    """OpenStreetView-5M's layout: train.csv names ids, not files."""
    ids = [str(3_859_149_887_465_501 + n) for n in range(40)]
    rows = [
        (identity, n / 2 + 1, n, f"town {n}", 100 + n) for n, identity in enumerate([*ids, "1"])
    ]
    table = write_table(
        tmp_path / "train.csv", ["id", "latitude", "longitude", "city", "creator_id"], rows
    )
    for part in range(2):
        files = {
            f"{part:02}/{identity}.jpg": photo_bytes(n)
            for n, identity in enumerate(ids)
            if n % 2 == part
        }
        write_zip(
            tmp_path / "zipped" / f"{part:02}.zip",
            files,
            (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)[part],
        )
        with zipfile.ZipFile(tmp_path / "zipped" / f"{part:02}.zip") as opened:
            opened.extractall(tmp_path / "loose")
    columns = {"photo": "id", "author": "creator_id", "label": "city"}
    for where in ("zipped", "loose"):
        *items, missing = CsvSource(table, tmp_path / where, columns)
        assert missing == Rejected("1", "line 42: not among the photographs")
        assert [item.id for item in items] == ids
        for number, item in enumerate(items):
            assert isinstance(item, Item)
            assert (bytes_of(item.photo), item.author, item.label) == (
                photo_bytes(number),
                str(100 + number),
                f"town {number}",
            )


def test_a_place_without_photographs_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds no photographs"):
        Store(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"garbage" * 100)
    with pytest.raises(SourceError, match="breaks off at byte 0"):
        Store(tmp_path)
    with pytest.raises(SourceError, match="There is no file or folder"):
        Store(tmp_path / "absent")


def test_the_same_content_elsewhere_is_the_same_source(tmp_path: Path) -> None:
    fingerprints = set()
    for name in ("one", "two"):
        folder = make_mp16(tmp_path / name, range(1, 6))
        fingerprints.add(
            CsvSource(folder / "metadata" / "MP16_Pro_filtered.csv", folder).fingerprint
        )
    assert len(fingerprints) == 1
    folder = make_mp16(tmp_path / "three", range(1, 7))
    assert (
        CsvSource(folder / "metadata" / "MP16_Pro_filtered.csv", folder).fingerprint
        not in fingerprints
    )
