"""Tar and zip files read in place: whole, in pieces, torn; the second look costs no scan."""

import zipfile
from pathlib import Path

import pytest

from img2loc.core import paths
from img2loc.core.errors import SourceError, UnreadablePhoto
from img2loc.data import archive_scan
from img2loc.data.archives import Archive, find_archives
from tests.archives import photo_bytes, split, write_tar, write_zip

FILES = {f"images/{seed}.jpg": photo_bytes(seed) for seed in range(5)} | {
    f"long/{'x' * 150}.jpg": b"no photo at all"
}


def contents(archive: Archive) -> dict[str, bytes]:
    return {name: archive.member(number)[1]() for number, name in enumerate(archive.names())}


def test_a_tar_is_read_in_place(tmp_path: Path) -> None:
    (archive,) = find_archives(
        write_tar(tmp_path / "a.tar", {f"./{name}": content for name, content in FILES.items()})
    )
    assert (contents(archive), archive.damage, len(archive)) == (FILES, "", 6)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_is_read_in_place(tmp_path: Path, method: int) -> None:
    (archive,) = find_archives(write_zip(tmp_path / "a.zip", FILES, method))
    assert (contents(archive), archive.damage) == (FILES, "")


@pytest.mark.parametrize("sizes", [(512,), (700, 100, 3), (511,), (1, 1, 1), (512 + 4000,)])
def test_pieces_are_one_tar(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    split(write_tar(tmp_path / "a.tar", FILES), [1024, *sizes], "mp-16-images")
    (tmp_path / "notes2024").write_text("no tar")
    (archive,) = find_archives(tmp_path)
    assert (contents(archive), archive.damage) == (FILES, "")


def test_a_missing_piece_is_told_and_what_is_before_it_is_used(tmp_path: Path) -> None:
    pieces = split(write_tar(tmp_path / "a.tar", FILES), [2048, 2048], "images")
    pieces[1].unlink()
    (archive,) = find_archives(tmp_path)
    whole = contents(archive)
    assert whole == dict(list(FILES.items())[: len(whole)])
    assert archive.damage.startswith("images00 breaks off at byte")


def test_several_tars_with_numbers_for_names_stay_several(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / "a.tar", {f"{number}.jpg": photo_bytes(number)}).rename(
            tmp_path / f"part{number:02}"
        )
    assert [list(archive.names()) for archive in find_archives(tmp_path)] == [
        ["0.jpg"],
        ["1.jpg"],
        ["2.jpg"],
    ]


def test_wherever_a_tar_is_cut_the_whole_files_before_are_there(tmp_path: Path) -> None:
    content = write_tar(tmp_path / "a.tar", FILES).read_bytes()
    end = content.rstrip(b"\0")
    for number, cut in enumerate([*range(512, len(end), 1111), len(end) // 512 * 512]):
        path = tmp_path / f"cut{number}.tar"
        path.write_bytes(content[:cut])
        (archive,) = find_archives(path)
        found = contents(archive)
        assert found == dict(list(FILES.items())[: len(found)])
        complete = [
            name for name, photo in FILES.items() if 0 <= content.find(photo) <= cut - len(photo)
        ]
        assert list(found) == complete
        assert f"the {len(found):,} files before" in archive.damage


def test_garbage_and_nothing_are_torn_archives(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(b"garbage" * 1000)
    (tmp_path / "b.tar").touch()
    (tmp_path / "c.zip").write_bytes(b"PK\x03\x04 garbage")
    assert [(len(archive), bool(archive.damage)) for archive in find_archives(tmp_path)] == [
        (0, True)
    ] * 3


def test_headers_that_no_reader_of_tars_can_make_sense_of_end_the_archive(tmp_path: Path) -> None:
    """A size beyond all numbers, and one below zero, in a header whose checksum is right."""
    content = write_tar(
        tmp_path / "a.tar", {"a.jpg": b"1", "b.jpg": b"2", "c.jpg": b"3"}
    ).read_bytes()
    for number, size in enumerate((b"\x80" + b"\x7f" * 11, b"\xff" * 10 + b"\xf0\x00")):
        header = bytearray(content[1024:1536])
        header[124:136], header[148:156] = size, b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        path = tmp_path / f"{number}.tar"
        path.write_bytes(content[:1024] + header + content[1536:])
        (archive,) = find_archives(path)
        assert contents(archive) == {"a.jpg": b"1"}
        assert "breaks off at byte 1," in archive.damage


def test_a_zip_whose_directory_is_damaged_is_torn(tmp_path: Path) -> None:
    content = write_zip(tmp_path / "a.zip", {"ü.jpg": b"1", "b.jpg": b"2"}).read_bytes()
    at = content.index(b"PK\x01\x02")
    for number, (place, value) in enumerate(
        [(at + 6, 230), (content.index("ü".encode(), at), 0xFF)]
    ):
        damaged = bytearray(content)
        damaged[place] = value
        (tmp_path / f"{number}.zip").write_bytes(damaged)
        (archive,) = find_archives(tmp_path / f"{number}.zip")
        assert "its directory, at its end, cannot be read" in archive.damage


@pytest.mark.parametrize("content", [b"", b"ARROW1 and no more"])
def test_a_torn_note_of_an_archive_is_made_again(tmp_path: Path, content: bytes) -> None:
    path = write_tar(tmp_path / "a.tar", FILES)
    find_archives(path)
    (note,) = paths.catalogues().iterdir()
    note.write_bytes(content)
    assert contents(find_archives(path)[0]) == FILES


def test_where_no_note_can_be_kept_the_message_names_that_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("IMG2LOC_HOME", str(tmp_path / "file"))
    with pytest.raises(
        SourceError,
        match=(r"The catalogue of a\.tar cannot be written to .*catalogues .* IMG2LOC_HOME"),
    ):
        find_archives(write_tar(tmp_path / "a.tar", FILES))


def test_an_archive_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "a.tar", FILES)
    first = contents(find_archives(path)[0])
    monkeypatch.setattr(archive_scan.TarScan, "__iter__", None)
    assert contents(find_archives(path)[0]) == first
    assert len(list(paths.catalogues().iterdir())) == 1


def test_its_digest_is_of_its_content_not_of_its_place(tmp_path: Path) -> None:
    one = find_archives(write_tar(tmp_path / "one" / "a.tar", FILES))[0].digest()
    assert find_archives(write_tar(tmp_path / "two" / "b.tar", FILES))[0].digest() == one
    assert (
        find_archives(write_tar(tmp_path / "c.tar", {**FILES, "more.jpg": b"x"}))[0].digest() != one
    )


def test_an_archive_that_vanishes_stops_the_work(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", FILES)
    _, member = find_archives(path)[0].member(0)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(SourceError, match=r"a\.tar has become shorter. Put it back"):
        member()
    path.unlink()
    with pytest.raises(SourceError, match=r"a\.tar cannot be read any more"):
        member()


def test_damage_inside_a_zip_is_one_photographs_fault(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a.jpg": b"abc" * 1000}, zipfile.ZIP_DEFLATED)
    content = bytearray(path.read_bytes())
    content[35:45] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(UnreadablePhoto, match="damaged in its zip"):
        find_archives(path)[0].member(0)[1]()
