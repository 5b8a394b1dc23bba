"""Parts of a build: merged they are what one machine builds; else a message says what to do."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.protocols import Source
from img2loc.data.source_from_path import open_source
from img2loc.gallery.build import merge, pipeline
from img2loc.gallery.build.embed_parts import Part, embed_part
from tests.archives import make_pairs
from tests.gallery.test_pipeline import TABLE, contents
from tests.toys import PixelEncoder

OPTIONS = {"alias": "toy", "table": TABLE}


@pytest.fixture
def source(tmp_path: Path) -> Source:
    make_pairs(tmp_path / "tars" / "0.tar", range(150), owner="me")
    make_pairs(tmp_path / "tars" / "1.tar", range(140, 300))
    return open_source(tmp_path / "tars")


def parts(source: Source, folder: Path, of: int = 3, side: int = 6) -> list[Path]:
    for number in range(1, of + 1):
        embed_part(
            source,
            PixelEncoder(side),
            folder / str(number),
            Part(number, of),
            alias="toy",
            table=TABLE,
        )
    return [folder / str(number) for number in range(1, of + 1)]


def shards(folder: Path) -> dict[str, str]:
    return {name: digest for name, digest in contents(folder).items() if "/" in name}


@pytest.mark.parametrize("of", [1, 2, 3, 9])
def test_parts_put_together_are_the_whole(source: Source, tmp_path: Path, of: int) -> None:
    whole = pipeline.build(source, PixelEncoder(), tmp_path / "whole", alias="toy", table=TABLE)
    made = parts(source, tmp_path / "parts", of)
    merged = merge.merge(list(reversed(made)), tmp_path / "merged")
    assert contents(tmp_path / "merged") == contents(tmp_path / "whole")
    assert (len(merged), merged.manifest) == (300, whole.manifest)
    held = [set(shards(folder)) for folder in made]
    assert sum(map(len, held)) == len(set().union(*held)) == len(shards(tmp_path / "whole"))
    again = pipeline.build(
        source, PixelEncoder(), tmp_path / "merged", alias="toy", table=TABLE
    )  # Knows it as its own.
    assert len(again) == 300


def test_what_does_not_fit_together_is_told(source: Source, tmp_path: Path) -> None:
    one, two, three = parts(source, tmp_path / "a")
    other = parts(source, tmp_path / "b", side=4)
    halves = parts(source, tmp_path / "c", of=2)
    out = tmp_path / "out"
    for folders, message in [
        ([one, three], "Of 3 parts these are missing: 2/3"),
        ([one, two, two, three], "Part 2/3 is there twice"),
        ([one, other[1], three], "of another encoder"),
        ([one, halves[1]], "one of 2 parts"),
        ([one, tmp_path / "tars"], "holds no part of a gallery"),
    ]:
        with pytest.raises(GalleryError, match=message):
            merge.merge(folders, out)
    make_pairs(tmp_path / "tars" / "2.tar", range(300, 310))
    grown = parts(open_source(tmp_path / "tars"), tmp_path / "d")
    with pytest.raises(GalleryError, match="of another source"):
        merge.merge([one, two, grown[2]], out)
    assert not out.exists()


def test_an_unfinished_part_a_lost_and_a_damaged_shard_are_told(
    source: Source, tmp_path: Path
) -> None:
    one, two, three = made = parts(source, tmp_path / "a")
    (two / "part.json").rename(two / "away")
    with pytest.raises(GalleryError, match=r"is part 2/3, and not finished"):
        merge.merge(made, tmp_path / "out")
    (two / "away").rename(two / "part.json")
    lost = one / "img_emb" / "img_emb_00003.npy"
    kept = lost.read_bytes()
    lost.write_bytes(kept[:100])
    with pytest.raises(
        GalleryError, match=r"img_emb_00003.npy (cannot be read|has vectors of shape)"
    ):
        merge.merge(made, tmp_path / "out")
    np.save(lost, np.load(three / "img_emb" / "img_emb_00002.npy")[:5])
    with pytest.raises(GalleryError, match="for 64 rows of 108"):
        merge.merge(made, tmp_path / "out")
    lost.unlink()
    with pytest.raises(GalleryError, match=r"img_emb_00003.npy is missing"):
        merge.merge(made, tmp_path / "out")
    embed_part(source, PixelEncoder(), one, Part(1, 3), alias="toy", table=TABLE)
    assert lost.read_bytes() == kept
    assert len(merge.merge(made, tmp_path / "out")) == 300


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("img_emb/img_emb_00000.npy", b"", "img_emb_00000.npy cannot be read"),
        ("metadata/metadata_00000.parquet", b"junk", "metadata_00000.parquet cannot be read"),
        ("skipped/skipped_00000.json", b"[{", "skipped_00000.json cannot be read"),
        ("part.json", b"[]", "part.json cannot be read"),
        ("part.json", b'{"part": [1, 2]}', "part.json cannot be read"),
        ("build.json", b"[]", "build.json cannot be read"),
        ("build.json", None, "has no build.json"),
    ],
)
def test_a_damaged_part_is_a_message(
    source: Source, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    one, two = parts(source, tmp_path / "a", of=2)
    if content is None:
        (one / name).unlink()
    else:
        (one / name).write_bytes(content)
    with pytest.raises(GalleryError, match=message):
        merge.merge([one, two], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_parts_of_other_views_or_for_other_indexes_are_told(source: Source, tmp_path: Path) -> None:
    class TenCrops(PixelEncoder):
        views = "ten-crop"

    one, two = parts(source, tmp_path / "a", of=2)
    embed_part(source, TenCrops(), tmp_path / "b", Part(2, 2), alias="toy", table=TABLE)
    with pytest.raises(GalleryError, match="of another views"):
        merge.merge([one, tmp_path / "b"], tmp_path / "out")
    embed_part(source, PixelEncoder(), two, Part(2, 2), alias="toy", table=TABLE, spec="SQfp16")
    with pytest.raises(GalleryError, match=r"for the index SQfp16, .* for Flat"):
        merge.merge([one, two], tmp_path / "out")
    embed_part(source, PixelEncoder(), one, Part(1, 2), alias="toy", table=TABLE, spec="SQfp16")
    assert merge.merge([one, two], tmp_path / "out").manifest["spec"] == "SQfp16"


def test_a_photo_in_two_shards_is_told(source: Source, tmp_path: Path) -> None:
    one, two = made = parts(source, tmp_path / "a", of=2)
    for kind, suffix in (("img_emb", "npy"), ("metadata", "parquet")):
        shutil.copy(one / kind / f"{kind}_00000.{suffix}", two / kind / f"{kind}_00001.{suffix}")
    with pytest.raises(GalleryError, match="is in two shards"):
        merge.merge(made, tmp_path / "out")


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "a/b", "1/2/3", "-1/2"])
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match=r"as in 1/4"):
        Part.parse(text)
    assert Part.parse("2/4") == Part(2, 4)
