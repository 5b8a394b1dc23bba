"""WebDataset archives: items, incomplete and damaged pairs."""

import json
import zipfile
from pathlib import Path

from img2loc.core.types import Item, Location, Rejected
from img2loc.data.source_from_path import open_source
from img2loc.data.webdataset import WebDatasetSource
from tests.archives import (
    make_pairs,
    photo_bytes,
    write_tar,
    write_zip,
)


def test_archives_give_items(tmp_path: Path) -> None:
    make_pairs(tmp_path / "00000.tar", range(3), owner="me", license="CC0")
    make_pairs(tmp_path / "00001.tar", range(2, 5))
    found = list(open_source(tmp_path))
    items = [entry for entry in found if isinstance(entry, Item)]
    assert [item.id for item in items] == [f"{n:09}" for n in range(5)]
    assert (items[2].location, items[2].label, items[2].author, items[2].license) == (
        Location(0.2, 1.5),
        "place 2",
        "me",
        "CC0",
    )
    assert callable(items[4].photo.data)
    assert items[4].photo.data() == photo_bytes(4)
    assert [entry for entry in found if isinstance(entry, Rejected)] == [
        Rejected("000000002", "duplicate id")
    ]


def test_incomplete_pairs_say_why(tmp_path: Path) -> None:
    good = json.dumps({"latitude": 1, "lng": 2, "id": "mine"}).encode()
    files = {
        "a.jpg": b"", "b.jpg": b"", "b.json": b"{", "c.json": good,
        "d.jpg": b"", "d.json": b'{"lat": 1}', "e.jpg": b"", "e.json": b'{"lat": 91, "lon": 0}',
        "f.json": good, "f.jpg": b"", "g.jpg": b"", "g.json": b"[1]",
    }  # fmt: skip
    found = list(WebDatasetSource(write_tar(tmp_path / "t.tar", files)))
    reasons = {entry.id: entry.reason for entry in found if isinstance(entry, Rejected)}
    assert list(reasons) == ["a", "b", "d", "e", "g"]
    assert reasons["a"] == "no .json beside it"
    assert reasons["d"] == "no lat and lon in its .json"
    assert "no point on Earth" in reasons["e"]
    assert [entry.id for entry in found if isinstance(entry, Item)] == ["mine"]


def test_a_description_that_is_damaged_costs_its_own_photo_only(tmp_path: Path) -> None:
    good = b'{"lat": 1, "lon": 2}'
    cut_off = b'{"lat": 1, "lon": 2, "title": "Z\\u00fcrich \\ud83d"}'
    files = {
        "a.jpg": b"",
        "a.json": b"[" * 100_000,
        "b.jpg": b"",
        "b.json": cut_off,
        "c.jpg": b"",
        "c.json": b" " * 500 + good,
    }
    path = write_zip(
        tmp_path / "t.zip", {**files, "d.jpg": b"", "d.json": good}, zipfile.ZIP_DEFLATED
    )
    content = bytearray(path.read_bytes())
    at = content.index(b"c.json") + len("c.json")
    content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    found = list(WebDatasetSource(path))
    assert [entry for entry in found if isinstance(entry, Rejected)] == [
        Rejected("a", "its .json cannot be read"), Rejected("c", "its .json cannot be read"),
    ]  # fmt: skip
    assert [(entry.id, entry.label) for entry in found if isinstance(entry, Item)] == [
        ("b", "Zürich ?"),
        ("d", ""),
    ]


def test_photographs_that_share_a_key_are_not_lost_in_silence(tmp_path: Path) -> None:
    good = b'{"lat": 1, "lon": 2}'
    files = {
        "IMG.1.jpg": b"1",
        "IMG.2.jpg": b"2",
        "IMG.json": good,
        "x.mask.png": b"",
        "x.jpg": b"3",
        "x.json": good,
    }
    first, second, third = WebDatasetSource(write_tar(tmp_path / "t.tar", files))
    assert isinstance(first, Item)
    assert isinstance(second, Rejected)
    assert isinstance(third, Item)
    assert (second.id, second.reason[:29]) == ("IMG.2.jpg", "a second photograph of the ke")
    assert [item.photo.data() for item in (first, third) if callable(item.photo.data)] == [
        b"1",
        b"3",
    ]


def test_a_truncated_tar_is_reported(tmp_path: Path) -> None:
    path = make_pairs(tmp_path / "t.tar", range(4))
    path.write_bytes(path.read_bytes()[:9000])
    *items, torn = WebDatasetSource(path)
    assert isinstance(torn, Rejected)
    assert "t.tar breaks off at byte 9,000" in torn.reason
    assert 0 < len(items) < 4
