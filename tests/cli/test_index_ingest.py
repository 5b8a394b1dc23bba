"""`index build --part`, merge, add, import and export; a killed build resumes."""

import errno
import json
import os
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from img2loc.core import paths
from img2loc.data.source_from_path import open_source
from img2loc.gallery import index_recall, verify
from img2loc.gallery.build import pipeline
from tests.archives import make_mp16, make_pairs
from tests.conftest import Cli, configure, kill_when
from tests.gallery.test_pipeline import TABLE, contents
from tests.toys import PixelEncoder


@pytest.fixture
def toy(tmp_path: Path) -> None:
    """A configuration with a quick encoder."""
    configure('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')


@pytest.mark.usefixtures("toy")
def test_from_download_to_gallery_in_parts_with_additions_and_out_again(
    run: Cli, tmp_path: Path
) -> None:
    import pyarrow.parquet as pq

    folder = make_mp16(tmp_path / "MP16-Pro", range(1, 131), table_only=[200, 201])
    build = ("index", "build", "mp16", "--source", folder, "--encoder", "toy")
    for part in ("1/2", "2/2"):
        code, _, err = run(*build, "--part", part, "--out", tmp_path / part[0])
        assert (code, f"part {part}" in err) == (0, True), err
    code, _, err = run("index", "merge", tmp_path / "1", "--out", tmp_path / "g")
    assert (code, err) == (
        1,
        "Error: Of 2 parts these are missing: 2/2. Embed them, and name all.\n",
    )
    code, _, err = run("index", "merge", tmp_path / "1", tmp_path / "2", "--out", tmp_path / "g")
    assert code == 0
    assert "130 photos by pixels/6" in err
    assert "2 × not among the photographs" in err
    assert run(*build, "--out", tmp_path / "whole")[0] == 0
    assert contents(tmp_path / "g") == contents(tmp_path / "whole")

    make_pairs(tmp_path / "more.tar", range(500, 510))
    code, _, err = run("index", "add", tmp_path / "g", tmp_path / "more.tar")
    assert (code, "140 photos" in err) == (0, True), err
    code, _, err = run("index", "export", tmp_path / "g", tmp_path / "rows.parquet")
    assert (code, "140 rows" in err) == (0, True), err
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert rows[129]["author"] == "1@N00"
    assert [{row["source"] for row in part} for part in (rows[:130], rows[130:])] == [
        {"MP16_Pro_filtered"},
        {"more"},
    ]
    assert json.loads(run("index", "info", tmp_path / "g")[1])["rows"] == 140

    code, _, err = run(
        "index",
        "import",
        tmp_path / "g",
        "--encoder",
        "toy",
        "--out",
        tmp_path / "again",
        "--photos",
        folder,
    )
    assert code == 0, err
    assert "32 photos encoded again: cosine 1.0000" in err
    code, _, err = run(
        "index", "import", tmp_path / "g", "--encoder", "toy", "--out", tmp_path / "again2"
    )
    assert "taken on your word" in err


@pytest.mark.usefixtures("toy")
def test_mistakes_are_sentences(run: Cli, tmp_path: Path) -> None:
    make_pairs(tmp_path / "t.tar", range(3))
    build = ("index", "build", tmp_path / "t.tar", "--encoder", "toy")
    (tmp_path / "grid.toml").write_text('of = "points"\ngrid = 9\n')
    for words, message in [
        (
            ("index", "add", "starter", tmp_path / "grid.toml"),
            "Error: The recipe 'grid' is of points, and only photos",
        ),
        (
            (*build, "--part", "1/2"),
            "Error: A part needs a folder of its own: say which with --out.",
        ),
        (
            (*build, "--part", "3/2", "--out", tmp_path / "p"),
            "Error: --part 3/2: say which of how many, as in 1/4",
        ),
        (
            (*build, "--device", "cuda:0"),
            "Error: The encoder 'toy' takes no device. Leave --device out.",
        ),
        (
            (*build[:3], "--encoder", "lite0", "--device", "cuda:77"),
            "Error: The device 'cuda:77' cannot be used: onnxruntime has no CUDA here.",
        ),
        (
            ("index", "add", tmp_path / "nowhere", tmp_path / "t.tar"),
            "Error: There is no gallery at",
        ),
        (("index", "import", tmp_path, "--encoder", "toy", "--out", tmp_path / "i"), "Error: "),
        (("index", "export", "starter", tmp_path / "absent" / "x.parquet"), "Error: "),
    ]:
        code, _, err = run(*words)
        assert (code, err.startswith(message)) == (1, True), err


@pytest.mark.usefixtures("toy")
def test_a_gallery_that_cannot_be_written_is_tuned_with_a_sentence(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_pairs(tmp_path / "t.tar", range(160))
    words = (
        "index",
        "build",
        tmp_path / "t.tar",
        "--encoder",
        "toy",
        "--spec",
        "IVF4,SQfp16",
        "--out",
        tmp_path / "g",
    )
    assert run(*words)[0] == 0

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(index_recall, "write_json", read_only)
        code, _, err = run("index", "tune", tmp_path / "g")
    assert (code, "cannot be written (Read-only file system)" in err) == (1, True), err
    with FileLock(tmp_path / "g" / ".lock"):
        code, _, err = run("index", "tune", tmp_path / "g")
    assert (code, "Another process is writing the gallery" in err) == (1, True), err
    assert run("index", "tune", tmp_path / "g")[0] == 0
    code, _, err = run("index", "tune", "starter")
    assert (code, "there is nothing to tune" in err) == (1, True), err
    assert not (paths.folder("index") / "starter" / ".lock").exists()


def test_a_file_that_ends_early_is_no_interruption(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Click takes the error for the end of the input."""

    def ends(folder: Path) -> None:
        raise EOFError("No data left in file")

    monkeypatch.setattr(verify, "problems", ends)
    code, _, err = run("index", "verify", "starter")
    assert (code, err.strip()) == (
        1,
        "Error: EOFError: No data left in file. This is a fault of img2loc; --debug shows where.",
    )


@pytest.mark.usefixtures("toy")
def test_files_of_another_kind_are_not_overwritten(run: Cli, tmp_path: Path) -> None:
    precious = tmp_path / "thesis.tex"
    precious.write_text("my thesis")
    for words in (
        ("index", "export", "starter", precious),
        ("bench", "report", "R", "--out", precious),
    ):
        code, _, err = run(*words)
        assert (code, "should end in" in err) == (1, True), err
    assert precious.read_text() == "my thesis"


def test_nothing_is_left_of_an_export_that_fails(run: Cli, tmp_path: Path) -> None:
    (tmp_path / "rows.parquet").mkdir()
    code, _, err = run("index", "export", "starter", tmp_path / "rows.parquet")
    assert (code, "cannot be written" in err) == (1, True), err
    assert not (tmp_path / "rows.parquet.part").exists()


def test_sigkill_in_the_middle_of_a_tar_and_again(tmp_path: Path) -> None:
    """A killed process on two tars, one truncated, resumes to the same gallery."""
    make_pairs(tmp_path / "tars" / "a.tar", range(150))
    torn = make_pairs(tmp_path / "tars" / "b.tar", range(150, 250))
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.toys import HaltingEncoder; from img2loc.gallery.build import pipeline\n"
        "from img2loc.data.source_from_path import open_source\n"
        f"pipeline.build(open_source(Path({str(tmp_path / 'tars')!r})),"
        f" HaltingEncoder(), Path(sys.argv[1]), alias='toy', table={TABLE})"
    )
    folder = tmp_path / "killed"
    kill_when(
        lambda: list(folder.glob("img_emb/*.npy")),
        [sys.executable, "-c", script, folder],
        env={**os.environ, "HALT_AFTER": "100"},
    )
    assert not (folder / "manifest.json").exists()
    for out in (folder, tmp_path / "whole"):
        gallery = pipeline.build(
            open_source(tmp_path / "tars"), PixelEncoder(), out, alias="toy", table=TABLE
        )
    assert contents(folder) == contents(tmp_path / "whole")
    assert 190 < len(gallery) < 210
    (line,) = pipeline.commonest_reasons(folder)
    assert line.startswith("1 × b.tar breaks off at byte")
