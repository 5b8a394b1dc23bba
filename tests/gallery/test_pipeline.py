"""Building a gallery: resumes after SIGKILL, lists what it skipped, refuses to mix."""

import csv
import hashlib
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.files import shard_size
from img2loc.data.csv_source import CsvSource
from img2loc.gallery.build import pipeline
from img2loc.gallery.build.shards import shard_paths, write_shard
from img2loc.gallery.gallery import Gallery
from tests.conftest import MakePhoto, kill_when, picture
from tests.toys import PixelEncoder

TABLE = {"kind": "tests.toys:PixelEncoder"}


@pytest.fixture
def source(tmp_path: Path) -> CsvSource:
    """200 photographs, of which some cannot be used."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rows = []
    for n in range(200):
        picture(n).save(folder / f"{n}.jpg")
        rows.append((f"photos/{n}.jpg", -40 + n * 0.4, 100 + n * 0.3, f"place {n}"))
    (folder / "70.jpg").write_bytes(b"broken")
    (folder / "71.jpg").unlink()
    rows[72] = ("photos/72.jpg", 95, 0, "nowhere")
    with (tmp_path / "all.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "lat", "lon", "label"), *rows])
    return CsvSource(tmp_path / "all.csv")


def build(source: CsvSource, folder: Path, spec: str = "auto", side: int = 6) -> Gallery:
    return pipeline.build(source, PixelEncoder(side), folder, alias="toy", table=TABLE, spec=spec)


def contents(folder: Path) -> dict[str, str]:
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.name != ".lock"
    }


def test_bad_photos_are_counted_and_listed(source: CsvSource, tmp_path: Path) -> None:
    gallery = build(source, tmp_path / "g")
    assert len(gallery) == 197
    assert gallery.manifest["skipped"] == 3
    with (tmp_path / "g" / "skipped.csv").open() as file:
        skipped = {row["id"]: row["reason"] for row in csv.DictReader(file)}
    assert list(skipped) == ["photos/70.jpg", "photos/71.jpg", "photos/72.jpg"]
    assert skipped["photos/71.jpg"] == "no such file"
    assert sorted(pipeline.commonest_reasons(tmp_path / "g"))[0].startswith("1 × ")
    assert sum(gallery.countries.values()) == 197


def test_progress_counts_every_entry(source: CsvSource, tmp_path: Path) -> None:
    seen: list[int] = []
    pipeline.build(
        source, PixelEncoder(), tmp_path / "g", alias="toy", table=TABLE, progress=seen.append
    )
    assert seen == sorted(seen)
    assert seen[-1] == 200 == len(source)


class Dies(PixelEncoder):
    """Fails for good after some photographs, as a killed process does."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.left = after

    def encode(self, photos):  # type: ignore[no-untyped-def]
        for row in super().encode(photos):
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            yield row


@pytest.mark.parametrize("after", [0, 10, 64, 100, 190])
def test_a_build_that_was_cut_off_ends_at_the_same_gallery(
    source: CsvSource, tmp_path: Path, after: int
) -> None:
    build(source, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        pipeline.build(source, Dies(after), tmp_path / "cut", alias="toy", table=TABLE)
    done = (
        len(list((tmp_path / "cut" / "img_emb").glob("*.npy")))
        if (tmp_path / "cut" / "img_emb").exists()
        else 0
    )
    assert done == after // 64
    with pytest.raises(GalleryError, match="half-built"):
        Gallery.open(tmp_path / "cut")
    build(source, tmp_path / "cut")
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_sigkill_and_again(source: CsvSource, tmp_path: Path) -> None:
    """A real process, really killed: once in the middle of embedding."""
    script = (
        "import sys; from pathlib import Path\n"
        "from tests.toys import HaltingEncoder; from img2loc.gallery.build import pipeline\n"
        "from img2loc.data.csv_source import CsvSource\n"
        f"pipeline.build(CsvSource(Path({str(source.path)!r})),"
        f" HaltingEncoder(), Path(sys.argv[1]), alias='toy', table={TABLE})"
    )
    folder = tmp_path / "killed"
    kill_when(
        lambda: list(folder.glob("img_emb/*.npy")),
        [sys.executable, "-c", script, folder],
        env={**os.environ, "HALT_AFTER": "100"},
    )
    assert not (folder / "manifest.json").exists()
    build(source, folder)
    build(source, tmp_path / "whole")
    assert contents(folder) == contents(tmp_path / "whole")


def test_the_same_command_again_changes_nothing(source: CsvSource, tmp_path: Path) -> None:
    build(source, tmp_path / "g")
    before = contents(tmp_path / "g")
    assert len(pipeline.build(source, Dies(0), tmp_path / "g", alias="toy", table=TABLE)) == 197
    assert contents(tmp_path / "g") == before


def test_another_spec_only_indexes_again(source: CsvSource, tmp_path: Path) -> None:
    build(source, tmp_path / "g")
    again = pipeline.build(source, Dies(0), tmp_path / "g", alias="toy", table=TABLE, spec="SQ8")
    assert (again.manifest["spec"], len(again)) == ("SQ8", 197)


def test_a_damaged_gallery_is_made_again_from_its_embeddings(
    source: CsvSource, tmp_path: Path
) -> None:
    build(source, tmp_path / "g")
    before = contents(tmp_path / "g")
    (tmp_path / "g" / "gallery.faiss").write_bytes(b"junk")
    assert len(pipeline.build(source, Dies(0), tmp_path / "g", alias="toy", table=TABLE)) == 197
    assert contents(tmp_path / "g") == before


def test_a_place_that_cannot_be_written_is_a_message(source: CsvSource, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(GalleryError, match="cannot be written"):
        build(source, tmp_path / "file")


def test_another_source_encoder_or_spec_is_refused(
    source: CsvSource, tmp_path: Path, make_photo: MakePhoto
) -> None:
    build(source, tmp_path / "g")
    with pytest.raises(GalleryError, match="encoder is"):
        build(source, tmp_path / "g", side=4)
    with pytest.raises(GalleryError, match="Choose Flat"):
        build(source, tmp_path / "g", spec="Nonsense")
    source.path.write_text(source.path.read_text() + "photos/0.jpg,1,1,x\n")
    with pytest.raises(GalleryError, match="source is"):
        build(CsvSource(source.path), tmp_path / "g")
    (tmp_path / "g" / "build.json").unlink()
    with pytest.raises(GalleryError, match="built elsewhere"):
        build(source, tmp_path / "g")


def test_other_views_of_the_photographs_are_refused(source: CsvSource, tmp_path: Path) -> None:
    """Either way round: a plan does not say what is usual."""
    ten = PixelEncoder()
    ten.views = "ten-crop"  # type: ignore[attr-defined]
    pipeline.build(source, ten, tmp_path / "ten", alias="toy", table=TABLE)
    with pytest.raises(GalleryError, match="views is"):
        build(source, tmp_path / "ten")
    build(source, tmp_path / "single")
    with pytest.raises(GalleryError, match="views is"):
        pipeline.build(source, ten, tmp_path / "single", alias="toy", table=TABLE)


def test_two_builders_at_once_are_told(source: CsvSource, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "g").mkdir()
    with FileLock(tmp_path / "g" / ".lock"), pytest.raises(GalleryError, match="Another process"):
        build(source, tmp_path / "g")


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("file,lat,lon\nabsent.jpg,1,2\n")
    with pytest.raises(
        GalleryError, match=r"not one usable entry for the gallery .*: 1 × no such file"
    ):
        build(CsvSource(tmp_path / "none.csv"), tmp_path / "g")


class Short(PixelEncoder):
    """Gives one vector too few."""

    def encode(self, photos):  # type: ignore[no-untyped-def]
        yield from list(super().encode(photos))[:-1]


def test_an_encoder_that_gives_too_few_is_named(source: CsvSource, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'pixels/6' gave fewer vectors"):
        pipeline.build(source, Short(), tmp_path / "g", alias="toy", table=TABLE)


def test_a_shard_that_is_written_again_leaves_its_links_alone(
    source: CsvSource, tmp_path: Path
) -> None:
    """A merged gallery may share its files with the parts."""
    build(source, tmp_path / "g")
    for kind, name in (("metadata", "metadata_00000.parquet"), ("skipped", "skipped_00001.json")):
        os.link(tmp_path / "g" / kind / name, tmp_path / name)
    before = [
        (tmp_path / name).read_bytes() for name in ("metadata_00000.parquet", "skipped_00001.json")
    ]
    write_shard(shard_paths(tmp_path / "g", 0), [], 108, np.float16, "none")
    write_shard(shard_paths(tmp_path / "g", 1), [], 108, np.float16, "none")
    assert [
        (tmp_path / name).read_bytes() for name in ("metadata_00000.parquet", "skipped_00001.json")
    ] == before


def test_shards_grow_but_stay_small_against_what_is_done() -> None:
    done = shards = 0
    while done < 4_700_000:
        size = shard_size(done)
        assert size <= max(64, done // 16)
        done, shards = done + size, shards + 1
    assert shards < 700
