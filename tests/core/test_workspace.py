"""One process and one plan for a folder; the same plan resumes, others are refused."""

import errno
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import ConfigError, GalleryError, RunError
from img2loc.core.files import replacing, write_bytes, write_json
from img2loc.core.workspace import Workspace
from img2loc.gallery.build.build_folder import begin, read_plan

ROOT = Path(__file__).resolve().parents[2]


def gallery(folder: Path) -> Workspace:
    return Workspace(folder, "gallery", GalleryError)


@pytest.mark.parametrize("file", ["", "x.npy"])
def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path: Path, file: str) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from img2loc.core.errors import RunError; from img2loc.core.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1]), 'run', RunError, file=sys.argv[2]).locked():\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    workspace = Workspace(tmp_path / "run", "run", RunError, file=file)
    command = [sys.executable, "-c", script, str(workspace.folder), file]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline().strip() == "held"
        with pytest.raises(RunError) as raised, workspace.locked():
            pass
        assert (
            str(raised.value)
            == f"Another process is writing the run {workspace.path}. Wait for it, or choose"
            " another --out."
        )
        with Workspace(tmp_path / "run", "run", RunError, file="y.npy").locked():
            pass  # Another file of the folder is free.
        other.kill()
    with workspace.locked():
        assert (tmp_path / "run").is_dir()


def test_a_file_size_limit_is_a_message_and_the_old_file_stays(tmp_path: Path) -> None:
    """In a process of its own, because the limit holds for the process."""
    write_json(tmp_path / "note.json", {"done": 1})
    script = (
        "import resource, sys; from pathlib import Path\nfrom img2loc.core.errors import"
        " Img2LocError; from img2loc.core.files import write_json\nfrom img2loc.core.workspace"
        " import Workspace\nresource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\ntry:\n    with"
        " Workspace(Path(sys.argv[1]), 'features', Img2LocError, 'set IMG2LOC_HOME').locked():\n   "
        "     write_json(Path(sys.argv[1], 'note.json'), {'done': 'x' * 9000})\nexcept Img2LocError"
        " as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (
        done.stdout.strip()
        == f"The features {tmp_path} cannot be written (File too large). Mend that, or set"
        " IMG2LOC_HOME."
    )
    assert gallery(tmp_path).read_note("note.json") == {"done": 1}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The device that is always full stands where the draft is written."""
    (tmp_path / "x.npy.tmp").symlink_to("/dev/full")
    with (
        pytest.raises(GalleryError, match=r"The disk of .* is full. Make room") as raised,
        gallery(tmp_path).locked(),
    ):
        write_bytes(tmp_path / "x.npy", b"vectors")
    assert isinstance(raised.value.__cause__, OSError)
    assert raised.value.__cause__.errno == errno.ENOSPC
    with gallery(tmp_path).locked():
        write_bytes(tmp_path / "x.npy", b"vectors")
    assert (tmp_path / "x.npy").read_bytes() == b"vectors"


def test_a_full_disk_is_known_where_a_library_does_not_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    for free, message in ((4096, "is full. Make room"), (1 << 40, "cannot be written")):
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: usage(1 << 41, 1 << 40, free))
        with pytest.raises(GalleryError, match=message), gallery(tmp_path).locked():
            raise OSError("16 requested and 0 written")


def test_a_reader_that_has_gone_is_not_the_disk(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), gallery(tmp_path).locked():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_a_disk_without_locks_is_a_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: object, *_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with (
        pytest.raises(GalleryError, match=r"has no file locks, .*choose another --out"),
        gallery(tmp_path).locked(),
    ):
        pass


def test_what_differs_is_said_with_both_values_and_the_remedy(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, "model", ConfigError)
    plan = {"lr": 1e-6, "sigma": (1, 2), "data": "a" * 64}
    workspace.require_same({"data": "a" * 64, "lr": 1e-6, "sigma": [1, 2]}, plan)
    with pytest.raises(ConfigError) as raised:
        workspace.require_same(plan, {**plan, "lr": 0.1, "seed": 3, "data": "b" * 64})
    assert (
        str(raised.value)
        == f'The model {tmp_path} was begun differently: data is "{"a" * 58}… there and'
        f' "{"b" * 58}… now; lr is 1e-06 there and 0.1 now; seed is not set there and 3 now. Run'
        f" the first command again, choose another --out, or delete {tmp_path}."
    )


@pytest.mark.parametrize("content", ["[1]", "3", "{"])
def test_a_note_that_cannot_be_read_is_a_message(tmp_path: Path, content: str) -> None:
    assert read_plan(tmp_path) is None
    (tmp_path / "build.json").write_text(content)
    with pytest.raises(
        GalleryError,
        match=r"build\.json cannot be read. Restore it, choose another --out, or delete",
    ):
        read_plan(tmp_path)


def test_what_was_added_to_a_gallery_is_not_part_of_its_plan(tmp_path: Path) -> None:
    plan = {"source": "a", "encoder": "b"}
    begin(tmp_path, plan)
    write_json(tmp_path / "build.json", {**plan, "added": [], "gallery": {}})
    begin(tmp_path, plan)
    with pytest.raises(GalleryError, match='views is not set there and "ten-crop" now'):
        begin(tmp_path, {**plan, "views": "ten-crop"})


def test_embeddings_of_others_are_not_built_over(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    begin(tmp_path, {"source": "a", "encoder": "b"})  # A folder alone is nobody's.
    (tmp_path / "build.json").unlink()
    np.save(tmp_path / "img_emb" / "img_emb_00000.npy", np.ones((2, 3)))
    with pytest.raises(GalleryError, match="made elsewhere and would be overwritten"):
        begin(tmp_path, {"source": "a", "encoder": "b"})


def test_a_draft_takes_the_place_only_when_it_is_whole(tmp_path: Path) -> None:
    write_bytes(tmp_path / "file", b"old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "file") as draft:
        draft.write_bytes(b"half")
        raise KeyboardInterrupt
    assert [path.read_bytes() for path in tmp_path.glob("file*")] == [b"old"]
