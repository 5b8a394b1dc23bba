"""Sources and their concatenation: names kept, duplicates counted; WebDataset; recipes."""

import json
import zipfile
from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Location, Rejected
from img2loc.data import recipes
from img2loc.data.concat import Concat
from img2loc.data.csv_source import CsvSource
from img2loc.data.open_source import open_source
from img2loc.data.photo_names import SeenIds
from img2loc.data.tables import open_table
from img2loc.data.webdataset import WebDatasetSource
from tests.archives import (
    make_mp16,
    make_pairs,
    mp16_name,
    photo_bytes,
    write_table,
    write_tar,
    write_zip,
)


def test_an_id_is_seen_once_however_it_is_written() -> None:
    seen, known = SeenIds(), set()
    for start in range(0, 5000, 37):  # Blocks of many lengths, so that all ways of merging happen.
        block = [mp16_name(n % 3000) for n in range(start, start + start % 91)]
        expected = []
        for identity in block:
            expected.append(identity in known)
            known.add(identity)
        assert seen.add(block) == expected
    assert seen.add([mp16_name(5).replace("/", "_"), "never", "never"]) == [True, False, True]
    assert seen.add([]) == []


def test_pairs_give_items(tmp_path: Path) -> None:
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


def test_a_torn_tar_of_pairs_is_told(tmp_path: Path) -> None:
    path = make_pairs(tmp_path / "t.tar", range(4))
    path.write_bytes(path.read_bytes()[:9000])
    *items, torn = WebDatasetSource(path)
    assert isinstance(torn, Rejected)
    assert "t.tar breaks off at byte 9,000" in torn.reason
    assert 0 < len(items) < 4


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


def test_a_parquet_table_reads_like_the_csv(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [("a.jpg", 1.5, -2.0, 7), ("b.jpg", None, 3.0, 8), ("", 1.0, 1.0, 9)]
    write_table(
        tmp_path / "t.csv",
        ["file", "lat", "lon", "id"],
        [["" if v is None else v for v in row] for row in rows],
    )
    table = pa.table(
        {
            name: list(column)
            for name, column in zip(
                ("file", "lat", "lon", "id"), zip(*rows, strict=True), strict=True
            )
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    parquet, csv = (list(CsvSource(tmp_path / f"t.{kind}")) for kind in ("parquet", "csv"))
    assert [entry.id for entry in parquet] == [entry.id for entry in csv] == ["7", "8", "9"]
    assert parquet[0] == csv[0]
    assert len(open_table(tmp_path / "t.parquet", ())) == 3
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        CsvSource(tmp_path / "bad.parquet")
    with pytest.raises(
        SourceError,
        match=r"absent\.parquet cannot be read: No such file or directory\. Name a CSV or Parquet",
    ):
        CsvSource(tmp_path / "absent.parquet")


def test_a_parquet_tables_odd_types_are_text_as_a_csv_has_it(tmp_path: Path) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "file": pa.array([b"a.jpg", "ü.jpg".encode()], pa.binary()),
        "id": pa.array([4763369508.0, None], pa.float64()),
        "lat": pa.array(np.array([48.8584, 1e-7], np.float32)),
        "lon": pa.array([2, -3], pa.int16()),
        "author": pa.array([float("nan"), 7.0]),
        "title": pa.array(["x", "x"]).dictionary_encode(),
    }
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    first, second = (
        entry for entry in CsvSource(tmp_path / "t.parquet") if isinstance(entry, Item)
    )
    assert (first.id, first.author, first.label) == ("4763369508", "", "x")
    assert first.location.lat == pytest.approx(48.8584, abs=1e-5)
    assert first.location.lon == 2
    assert (second.id, second.author, second.photo.path.name) == ("ü.jpg", "7", "ü.jpg")
    assert second.location.lat == pytest.approx(1e-7)


def test_a_parquet_table_whose_pages_are_damaged_is_a_sentence(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(
        pa.table({"file": ["a.jpg"] * 50, "lat": [1.0] * 50, "lon": [2.0] * 50}),
        tmp_path / "t.parquet",
    )
    content = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(content[:4] + b"\xff" * 60 + content[64:])
    with pytest.raises(SourceError, match=r"t\.parquet is damaged"):
        list(CsvSource(tmp_path / "t.parquet"))


def test_a_long_csv_is_counted_and_read_without_being_held(tmp_path: Path) -> None:
    import tracemalloc

    rows = [(f"{n}.jpg", 1, 2, "Zürich, " * 8) for n in range(60_000)]
    path = write_table(tmp_path / "t.csv", ["file", "lat", "lon", "city"], rows)
    assert path.stat().st_size > 4_000_000
    tracemalloc.start()
    table = open_table(path, ("photo",))
    assert sum(1 for _ in table) == len(table) == 60_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_500_000


def test_what_is_no_source_is_told_before_anything_is_embedded(tmp_path: Path) -> None:
    import gzip

    whole = write_tar(
        tmp_path / "a.tar", {"a.jpg": photo_bytes(1), "a.json": b'{"lat": 1, "lon": 2}'}
    ).read_bytes()
    for name, content, message in [
        (
            "b.tar.gz",
            gzip.compress(whole),
            "is compressed, so nothing in it can be read in place. Unpack it",
        ),
        (
            "c.tar",
            gzip.compress(whole),
            r"c\.tar breaks off at byte 0: .* may be empty, compressed or no tar file",
        ),
        ("d.tar", b"", r"d\.tar breaks off at byte 0: .* may be empty, compressed or no tar file"),
        ("e.zip", b"", r"e\.zip breaks off or is damaged"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=message):
            open_source(tmp_path / name)
    (tmp_path / "both").mkdir()
    write_zip(tmp_path / "both" / "backup.zip", {"x.txt": b"x"})
    (tmp_path / "both" / "1.jpg").write_bytes(photo_bytes(1))
    with pytest.raises(SourceError, match=r"archives and loose photographs, such as 1\.jpg"):
        open_source(tmp_path / "both")


def test_recipes_of_several_sources(tmp_path: Path) -> None:
    make_mp16(tmp_path / "mp16", range(1, 5))
    make_pairs(tmp_path / "pairs" / "0.tar", range(20, 23))
    (tmp_path / "both.toml").write_text(
        '[[source]]\npath = "mp16"\ntable = "metadata/MP16_Pro_filtered.csv"\ncolumns = { photo ='
        ' "IMG_ID" }\n[[source]]\nname = "street"\npath = "pairs"\n'
    )
    recipe = recipes.find(str(tmp_path / "both.toml"))
    assert recipe.is_whole
    found = [entry for entry in recipe.source() if isinstance(entry, Item)]
    assert [entry.source for entry in found] == ["mp16"] * 4 + ["street"] * 3
    assert {entry.author for entry in found} == {"", *(f"{n}@N00" for n in range(1, 5))}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('path = "x"\n[[source]]\npath = "y"\n', "both a path and sources"),
        ('[[source]]\nname = "y"\n', "a \\[\\[source\\]\\] without a path"),
        ('[[source]]\npath = "y"\nencoder = "lite0"\n', "no key 'encoder'"),
        ("source = [3]\n", "should be a \\[\\[source\\]\\] table"),
        ('[[source]]\npath = "y"\ntable = 3\n', "table = 3 should be a str"),
        ('path = "x.csv"\nlicenses = [3]\n', r"licenses = \[3\] should hold texts only"),
        ('path = "x.csv"\ncolumns = {lat = 3}\n', "should hold texts only"),
    ],
)
def test_wrong_recipes_of_sources_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(SourceError, match=message):
        recipes.find(str(tmp_path / "r.toml"))


@pytest.mark.parametrize(
    "name", ["no.such:thing.csv", "mp16:v2.csv", ":x.csv", "/data/2024:09/x.csv"]
)
def test_a_colon_in_a_path_names_no_package(tmp_path: Path, name: str) -> None:
    (tmp_path / "mp16:v2.csv").touch()
    (tmp_path / "r.toml").write_text(f'path = "{name}"\n')
    assert recipes.find(str(tmp_path / "r.toml")).path == tmp_path / name


def test_the_shipped_recipe_takes_a_download_as_it_is(tmp_path: Path) -> None:
    from dataclasses import replace

    folder = make_mp16(tmp_path / "MP16-Pro", range(1, 9), table_only=[50])
    found = list(replace(recipes.find("mp16"), path=folder).source())
    assert [entry.id for entry in found] == [mp16_name(n) for n in (50, 8, 7, 6, 5, 4, 3, 2, 1)]
    assert isinstance(found[0], Rejected)
    assert all(isinstance(entry, Item) for entry in found[1:])
    with pytest.raises(SourceError, match=r"has no metadata/MP16_Pro_filtered.csv.*hf download"):
        replace(recipes.find("mp16"), path=tmp_path).source()
    with pytest.raises(SourceError, match=r"hf download osv5m/osv5m.*--source FOLDER"):
        recipes.find("osv5m").source()
