"""CSVs with the field's column names; rows that are rejected."""

from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.core.types import Item, Location, Rejected
from img2loc.data.csv_source import CsvSource


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "photos.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "header",
    [
        "file,lat,lon",
        "IMG_ID,LAT,LON",
        "name,latitude,longitude",
        "image_path,Lat,lng",
        "IMG_FILE,lat,Long",
    ],
)
def test_columns_are_found_by_their_known_names(tmp_path: Path, header: str) -> None:
    items = list(CsvSource(csv(tmp_path, f"{header}\na.jpg,48.5,2.25\n")))
    assert items == [Item("a.jpg", Location(48.5, 2.25), items[0].photo)]  # type: ignore[union-attr]
    assert isinstance(items[0], Item)
    assert items[0].photo.path == tmp_path / "a.jpg"


def test_order_of_columns_label_author_license_and_id(tmp_path: Path) -> None:
    header, rows = "lon;author;id;photo;lat;label;license\n", "-2.5;me;8;b.jpg;-48;;\n"
    text = f"{header}2,5;me;7;a.jpg;48;Paris;CC0\n{rows}"
    rejected, item = CsvSource(csv(tmp_path, text))
    assert isinstance(rejected, Rejected)  # 2,5 is no number here
    assert item == Item("8", Location(-48, -2.5), item.photo, "", "me", "")  # type: ignore[union-attr]


def test_ambiguity_is_refused_and_can_be_settled(tmp_path: Path) -> None:
    path = csv(tmp_path, "file,name,lat,lon\na.jpg,Eiffel,48,2\n")
    with pytest.raises(SourceError, match=r"2 columns for the photo: file, name"):
        CsvSource(path)
    (item,) = CsvSource(path, columns={"photo": "file", "label": "name"})
    assert isinstance(item, Item)
    assert (item.id, item.label) == ("a.jpg", "Eiffel")


def test_missing_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        SourceError,
        match=r"no column for the lon: none of lon, lng, long, longitude. It has: file, lat, x",
    ):
        CsvSource(csv(tmp_path, "file,lat,x\n"))


def test_bad_rows_are_rejected_with_their_line(tmp_path: Path) -> None:
    rows = [
        "a.jpg,91,0",
        "b.jpg,,",
        ",1,1",
        "c.jpg,nan,1",
        "d.jpg,0.0,0.0",
        "e.jpg,1,1",
        "e.jpg,2,2",
        "short",
    ]
    found = list(CsvSource(csv(tmp_path, "file,lat,lon\n" + "\n".join(rows))))
    assert [type(entry) for entry in found] == [Rejected] * 5 + [Item] + [Rejected] * 2
    reasons = [entry.reason for entry in found if isinstance(entry, Rejected)]
    assert reasons[0] == "line 2: no point on Earth: lat '91', lon '0'"
    assert "no photo" in reasons[2]
    assert "placeholder" in reasons[4]
    assert reasons[5] == "line 8: duplicate id"


def test_licenses_choose_rows(tmp_path: Path) -> None:
    rows = [
        "a.jpg,1,1,Public Domain",
        "b.jpg,1,2,CC-BY-SA-4.0 (x)",
        "c.jpg,1,3,repo AGPL/GPL",
        "d.jpg,1,4,CC0-1.0",
        "e.jpg,1,5,repo BSD-2",
    ]
    path = csv(tmp_path, "file,lat,lon,license\n" + "\n".join(rows))
    chosen = CsvSource(path, licenses=["public domain", "CC BY SA", "CC0", "BSD"])
    assert [entry.id for entry in chosen] == ["a.jpg", "b.jpg", "d.jpg", "e.jpg"]
    assert chosen.fingerprint != CsvSource(path).fingerprint


def test_byte_order_mark_crlf_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b'\xef\xbb\xbffile,lat,lon,label\r\n"a, b.jpg",1,2,"two, three"\r\n')
    (item,) = CsvSource(path)
    assert isinstance(item, Item)
    assert (item.id, item.label) == ("a, b.jpg", "two, three")


def test_lines_end_only_where_a_csv_says_so(tmp_path: Path) -> None:
    """Python's own idea of a line end would pair a photo with another one's coordinate."""
    text = 'file,lat,lon,label\na\u0085b.jpg,1,2,x\u2028y\nb.jpg,3,4,"two\nlines"\n'
    first, second = CsvSource(csv(tmp_path, text))
    assert isinstance(first, Item)
    assert isinstance(second, Item)
    assert (first.id, first.location, first.label) == ("a\u0085b.jpg", Location(1, 2), "x\u2028y")
    assert (second.id, second.location, second.label) == ("b.jpg", Location(3, 4), "two\nlines")


def test_odd_layouts(tmp_path: Path) -> None:
    for text in (
        "\n\nfile,lat,lon\na.jpg,1,2\n",
        "file\tlat\tlon\na.jpg\t1\t2",
        '"file";"lat";"lon";"a,b,c,d"\na.jpg;1;2;x',
        "file,lat,lon\ra.jpg,1,2\r",
    ):
        path = tmp_path / "x.csv"
        path.write_bytes(text.encode())
        (item,) = CsvSource(path)
        assert isinstance(item, Item), text
        assert item.location == Location(1, 2)


def test_what_would_shift_or_swallow_rows_is_not_taken(tmp_path: Path) -> None:
    rejected, good = CsvSource(csv(tmp_path, "file,lat,lon\na,b.jpg,1,2\nc.jpg,3,4\n"))
    assert isinstance(rejected, Rejected)
    assert "more cells than columns" in rejected.reason
    assert isinstance(good, Item)
    with pytest.raises(SourceError, match="Mend the CSV"):
        list(CsvSource(csv(tmp_path, 'file,lat,lon,label\na.jpg,1,2,"open\nb.jpg,3,4,x\n')))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b""])
def test_what_is_no_csv_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    with pytest.raises(SourceError):
        CsvSource(path)
