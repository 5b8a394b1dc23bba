"""Paths that are no source, refused before anything is embedded."""

from pathlib import Path

import pytest

from img2loc.core.errors import SourceError
from img2loc.data.source_from_path import open_source
from tests.archives import (
    photo_bytes,
    write_tar,
    write_zip,
)


def test_what_is_no_source_is_refused(tmp_path: Path) -> None:
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
