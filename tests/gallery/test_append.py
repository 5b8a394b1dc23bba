"""More photographs for a gallery: known ids are skipped, nothing changes until the end."""

import errno
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import GalleryError
from img2loc.core.types import Embeddings, Location
from img2loc.data.csv_source import CsvSource
from img2loc.data.points import GridSource
from img2loc.data.source_from_path import open_source
from img2loc.gallery.build import append, pipeline
from img2loc.gallery.build.export import export
from img2loc.gallery.gallery import Gallery
from tests.archives import make_pairs, mp16_name, photo_bytes, write_table
from tests.gallery.test_pipeline import TABLE, Dies, contents
from tests.toys import PixelEncoder


@pytest.fixture
def built(tmp_path: Path) -> Path:
    make_pairs(tmp_path / "base.tar", range(100), owner="me")
    source = open_source(tmp_path / "base.tar")
    pipeline.build(
        source, PixelEncoder(), tmp_path / "g", alias="toy", table=TABLE, about={"terms": "mine"}
    )
    return tmp_path / "g"


def more(tmp_path: Path) -> Path:
    return make_pairs(tmp_path / "more.tar", range(90, 250))


def test_new_photos_are_added_and_known_ones_passed_over(built: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    before = contents(built)
    source = open_source(more(tmp_path))
    gallery = append.add(source, PixelEncoder(), built, name="more")
    assert (len(gallery), gallery.manifest["skipped"], gallery.manifest["terms"]) == (
        250,
        10,
        "mine",
    )
    assert {
        name: digest for name, digest in contents(built).items() if name in before and "/" in name
    } == {name: digest for name, digest in before.items() if "/" in name}
    assert export(gallery, tmp_path / "rows.parquet") == 250
    rows = pq.read_table(tmp_path / "rows.parquet")
    assert rows.column_names == [
        "id",
        "lat",
        "lon",
        "label",
        "author",
        "license",
        "source",
        "digest",
    ]
    assert sorted(rows["id"].to_pylist()) == [f"{n:09}" for n in range(250)]
    assert rows["author"].to_pylist().count("me") == 100
    assert (
        len(append.add(source, Dies(0), built, name="more")) == 250
    )  # Done already: nothing is encoded.


@pytest.mark.parametrize("after", [0, 70, 149])
def test_an_addition_that_was_cut_off_goes_on(built: Path, tmp_path: Path, after: int) -> None:
    source = open_source(more(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        append.add(source, Dies(after), built, name="more")
    assert len(Gallery.open(built)) == 100  # Still searched as before.
    if after > 64:  # Else there is nothing yet that another addition could spoil.
        with pytest.raises(GalleryError, match=r"An addition of more .* is not finished"):
            append.add(
                open_source(make_pairs(tmp_path / "else.tar", range(500, 510))),
                PixelEncoder(),
                built,
                name="else",
            )
    (built / "manifest.json").unlink()  # Killed while it was indexed anew.
    assert len(append.add(source, PixelEncoder(), built, name="more")) == 250


@pytest.mark.parametrize(
    "name",
    ["img_emb/img_emb_00000.npy", "img_emb/img_emb_00001.npy", "metadata/metadata_00001.parquet"],
)
def test_nothing_is_added_where_a_shard_is_lost(built: Path, tmp_path: Path, name: str) -> None:
    """By its number alone a new shard would be taken for the last one: photos would be lost."""
    (built / name).rename(tmp_path / "away")
    source = open_source(more(tmp_path))
    with pytest.raises(
        GalleryError, match=r"is missing. Restore it|of 64 rows, and the gallery 100"
    ):
        append.add(source, PixelEncoder(), built, name="more")
    (tmp_path / "away").rename(built / name)
    assert len(append.add(source, PixelEncoder(), built, name="more")) == 250


def test_a_damaged_table_of_ids_is_told(built: Path, tmp_path: Path) -> None:
    (built / "metadata" / "metadata_00001.parquet").write_bytes(b"junk")
    with pytest.raises(GalleryError, match=r"metadata_00001.parquet cannot be read"):
        append.add(open_source(more(tmp_path)), PixelEncoder(), built, name="more")


def test_an_addition_can_be_given_up(built: Path, tmp_path: Path) -> None:
    """Where its source has changed meanwhile, it could never be finished."""
    with pytest.raises(KeyboardInterrupt):
        append.add(open_source(more(tmp_path)), Dies(100), built, name="more")
    changed = open_source(make_pairs(tmp_path / "more.tar", range(90, 130)))
    with pytest.raises(
        GalleryError, match=r"is not finished.* delete the files numbered 00002 and above"
    ):
        append.add(changed, PixelEncoder(), built, name="more")
    for path in built.glob("*/*_00002.*"):
        path.unlink()
    assert len(append.add(changed, PixelEncoder(), built, name="more")) == 130


def test_photographs_are_not_added_to_points_nor_to_other_views(
    built: Path, tmp_path: Path
) -> None:
    class Both(PixelEncoder):
        def encode_points(self, points: Sequence[Location]) -> Embeddings:
            return np.eye(len(points), self.dim, dtype=np.float32)

    class TenCrops(PixelEncoder):
        views = "ten-crop"

    pipeline.build(
        GridSource(5), Both(), tmp_path / "points", alias="toy", table=TABLE, of="points"
    )
    source = open_source(more(tmp_path))
    with pytest.raises(GalleryError, match="is of points, and only photos can be added"):
        append.add(source, Both(), tmp_path / "points", name="more")
    with pytest.raises(GalleryError, match="was built by single, not by ten-crop"):
        append.add(source, TenCrops(), built, name="more")


def test_what_cannot_be_added_to_is_told(built: Path, tmp_path: Path) -> None:
    source = open_source(more(tmp_path))
    with pytest.raises(GalleryError, match=r"was built by pixels/6, not by pixels/4"):
        append.add(source, PixelEncoder(4), built, name="more")
    (built / "build.json").unlink()
    with pytest.raises(GalleryError, match="lacks the embeddings"):
        append.add(source, PixelEncoder(), built, name="more")
    with pytest.raises(GalleryError, match="There is no gallery"):
        append.add(source, PixelEncoder(), tmp_path / "nowhere", name="more")


def test_a_full_disk_is_a_message_and_nothing_is_lost(tmp_path: Path) -> None:
    """The device that is always full stands where the second shard is written."""
    make_pairs(tmp_path / "t.tar", range(150))
    source = open_source(tmp_path / "t.tar")
    folder = tmp_path / "g"
    (folder / "img_emb").mkdir(parents=True)
    (folder / "img_emb" / "img_emb_00001.npy.tmp").symlink_to("/dev/full")
    with pytest.raises(GalleryError, match=r"The disk of .* is full. Make room") as caught:
        pipeline.build(source, PixelEncoder(), folder, alias="toy", table=TABLE)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    first = (folder / "img_emb" / "img_emb_00000.npy").read_bytes()
    assert len(pipeline.build(source, PixelEncoder(), folder, alias="toy", table=TABLE)) == 150
    assert (folder / "img_emb" / "img_emb_00000.npy").read_bytes() == first


def test_a_shard_that_vanished_is_made_again(built: Path, tmp_path: Path) -> None:
    before = contents(built)
    for kind, suffix in (("img_emb", "npy"), ("metadata", "parquet"), ("skipped", "json")):
        (built / kind / f"{kind}_00001.{suffix}").unlink()
        (built / "manifest.json").unlink()
        pipeline.build(
            open_source(tmp_path / "base.tar"), PixelEncoder(), built, alias="toy", table=TABLE
        )
        assert contents(built).keys() == before.keys()
    assert {name: digest for name, digest in contents(built).items() if "/" in name} == {
        name: digest for name, digest in before.items() if "/" in name
    }


def test_an_archive_that_vanishes_while_it_is_read_stops_the_build(tmp_path: Path) -> None:
    from img2loc.core.errors import SourceError

    path = make_pairs(tmp_path / "t.tar", range(150))
    source = open_source(path)

    class Removes(PixelEncoder):
        def encode(self, photos):  # type: ignore[no-untyped-def]
            for number, row in enumerate(super().encode(photos)):
                if number == 30 and (tmp_path / "g" / "img_emb" / "img_emb_00000.npy").exists():
                    path.rename(tmp_path / "away")
                yield row

    with pytest.raises(SourceError, match=r"t\.tar cannot be read any more .* Put it back"):
        pipeline.build(source, Removes(), tmp_path / "g", alias="toy", table=TABLE)
    (tmp_path / "away").rename(path)
    gallery = pipeline.build(
        open_source(path), PixelEncoder(), tmp_path / "g", alias="toy", table=TABLE
    )
    assert (len(gallery), gallery.manifest["skipped"]) == (150, 0)


def test_ids_written_with_underscores_are_the_same_photographs(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(photo_bytes(number))
    header = ["file", "id", "lat", "lon"]
    slashes = write_table(
        tmp_path / "a.csv", header, [(f"{n}.jpg", mp16_name(n), 1, n + 1) for n in range(2)]
    )
    pipeline.build(CsvSource(slashes), PixelEncoder(), tmp_path / "g", alias="toy", table=TABLE)
    under = write_table(
        tmp_path / "b.csv",
        header,
        [(f"{n}.jpg", mp16_name(n).replace("/", "_"), 1, n + 1) for n in range(3)],
    )
    assert len(append.add(CsvSource(under), PixelEncoder(), tmp_path / "g", name="b")) == 3
