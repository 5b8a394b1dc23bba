"""What keeps a folder one builder's, and what is said where its disk does not serve."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from img2loc import claims
from img2loc.errors import GalleryError
from img2loc.manifest import read_plan


def test_embeddings_of_others_are_not_built_over(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    claims.claim(tmp_path, {"source": "a", "encoder": "b"})  # A folder alone is nobody's.
    (tmp_path / "build.json").unlink()
    np.save(tmp_path / "img_emb" / "img_emb_00000.npy", np.ones((2, 3)))
    with pytest.raises(GalleryError, match="made elsewhere and would be overwritten"):
        claims.claim(tmp_path, {"source": "a", "encoder": "b"})


@pytest.mark.parametrize("content", ["[1]", "3", "{"])
def test_a_note_that_is_none_is_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "build.json").write_text(content)
    with pytest.raises(GalleryError, match=r"build\.json"):
        read_plan(tmp_path)


def test_a_full_disk_is_known_where_a_library_does_not_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    for free, message in ((4096, "is full. Make room"), (1 << 40, "cannot be written")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: usage(1 << 41, 1 << 40, free))
        with pytest.raises(GalleryError, match=message), claims.working_on(tmp_path):
            raise OSError("16 requested and 0 written")


def test_a_disk_without_locks_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: object, *_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with pytest.raises(GalleryError, match=r"knows no locks .* another disk"), claims.working_on(tmp_path):
        pass
