"""Embeddings that somebody else made become a gallery: checked, without the photographs."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError, SourceError, WrongEncoder
from img2loc.core.types import Photo, Rejected
from img2loc.gallery.build import import_embeddings
from img2loc.gallery.gallery import Gallery
from tests.archives import mp16_name, photo_bytes, write_table
from tests.gallery.test_pipeline import TABLE, contents
from tests.toys import PixelEncoder

NAMES = [mp16_name(seed).replace("/", "_") for seed in range(40)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for seed, name in enumerate(NAMES):
        (tmp_path / "photos" / name).write_bytes(photo_bytes(seed))
    return tmp_path / "photos"


@pytest.fixture
def theirs(photos: Path, tmp_path: Path) -> Path:
    """As clip-retrieval writes it: two files, vectors of any length, coordinates with them."""
    made = [
        row
        for row in PixelEncoder().encode(Photo(photos / name) for name in NAMES)
        if not isinstance(row, Rejected)
    ]
    vectors = 3 * np.stack(made)
    write(tmp_path / "theirs", vectors)
    return tmp_path / "theirs"


def write(folder: Path, vectors: NDArray[Any], **columns: list[Any]) -> None:
    for kind in ("img_emb", "metadata"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    table: dict[str, list[Any]] = {
        "image_path": [f"/data/images/{name}" for name in NAMES],
        "caption": [f"no. {n}" for n in range(40)],
    }
    table |= columns or {"lat": list(range(1, 41)), "lon": list(range(40))}
    for number, rows in enumerate((slice(0, 25), slice(25, 40))):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors[rows].astype(np.float16))
        columns_of = {name: values[rows] for name, values in table.items()}
        pq.write_table(pa.table(columns_of), folder / "metadata" / f"metadata_{number}.parquet")


def build(folder: Path, out: Path, places: Path | None = None) -> Gallery:
    return import_embeddings.build(
        import_embeddings.EmbeddingFolder(folder, places),
        PixelEncoder(),
        out,
        alias="toy",
        table=TABLE,
    )


def test_they_become_a_gallery_that_finds_its_photographs(
    theirs: Path, photos: Path, tmp_path: Path
) -> None:
    gallery = build(theirs, tmp_path / "g")
    assert (len(gallery), gallery.encoder_name, gallery.manifest["imported"]) == (
        40,
        "pixels/6",
        {"check": None},
    )
    (query,) = PixelEncoder().encode([Photo(photos / NAMES[33])])
    result = gallery.search(query, 1).nearest[0]  # type: ignore[arg-type]
    assert (result.id, result.location.lat, result.label) == (
        f"/data/images/{NAMES[33]}",
        34,
        "no. 33",
    )
    assert result.similarity == pytest.approx(1, abs=1e-3)
    assert len(build(theirs, tmp_path / "g")) == 40


def test_coordinates_come_from_a_table_by_whichever_name(
    theirs: Path, photos: Path, tmp_path: Path
) -> None:
    vectors = np.concatenate([np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))])
    write(tmp_path / "bare", vectors, url=[""] * 40)
    with pytest.raises(SourceError, match="no column for the lat"):
        import_embeddings.EmbeddingFolder(tmp_path / "bare")
    places = write_table(
        tmp_path / "p.csv",
        ["IMG_ID", "LAT", "LON"],
        [(mp16_name(n), n + 1, n) for n in reversed(range(38))],
    )
    gallery = build(tmp_path / "bare", tmp_path / "g", places)
    assert (len(gallery), gallery.manifest["skipped"]) == (38, 2)
    latitudes = dict(zip(gallery.metadata.ids(), gallery.metadata.locations()[:, 0], strict=True))
    assert latitudes == {f"/data/images/{NAMES[n]}": n + 1 for n in range(38)}


def test_rows_that_cannot_be_used_are_counted(theirs: Path, tmp_path: Path) -> None:
    vectors = np.concatenate([np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))])
    vectors[3], vectors[4] = 0, np.nan
    paths: list[object] = [f"/data/images/{name}" for name in NAMES]
    paths[6] = paths[5]
    write(tmp_path / "odd", vectors, lat=[95, *range(2, 41)], lon=list(range(40)), image_path=paths)
    gallery = build(tmp_path / "odd", tmp_path / "g")
    assert (len(gallery), gallery.manifest["skipped"]) == (36, 4)


def test_a_spot_check_tells_another_encoder(theirs: Path, photos: Path) -> None:
    result = import_embeddings.check(
        import_embeddings.EmbeddingFolder(theirs), PixelEncoder(), photos
    )
    assert result.photos == 32
    assert 0.999 < result.lowest <= result.median <= 1.001

    class Other(PixelEncoder):
        def encode(self, photos):  # type: ignore[no-untyped-def]
            return (-row if isinstance(row, np.ndarray) else row for row in super().encode(photos))

    with pytest.raises(WrongEncoder, match=r"are not by pixels/6: of 32 photos encoded again"):
        import_embeddings.check(import_embeddings.EmbeddingFolder(theirs), Other(), photos)


def test_files_are_paired_by_number_not_by_order(theirs: Path, tmp_path: Path) -> None:
    for kind, suffix in (("img_emb", "npy"), ("metadata", "parquet")):
        for number, name in ((0, "2"), (1, "10")):
            (theirs / kind / f"{kind}_{number}.{suffix}").rename(
                theirs / kind / f"{kind}_{name}.{suffix}"
            )
    assert build(theirs, tmp_path / "g").metadata.ids() == [
        f"/data/images/{name}" for name in NAMES
    ]
    (theirs / "metadata" / "metadata_10.parquet").rename(
        theirs / "metadata" / "metadata_11.parquet"
    )
    with pytest.raises(SourceError, match=r"img_emb_10\.npy has no other half"):
        import_embeddings.EmbeddingFolder(theirs)
    (theirs / "metadata" / "metadata_11.parquet").rename(
        theirs / "metadata" / "metadata_02.parquet"
    )
    with pytest.raises(SourceError, match="several files of one number"):
        import_embeddings.EmbeddingFolder(theirs)


def test_other_vectors_are_not_taken_for_those_that_were_there(
    theirs: Path, tmp_path: Path
) -> None:
    build(theirs, tmp_path / "g")
    path = theirs / "img_emb" / "img_emb_1.npy"
    np.save(path, -np.load(path))
    with pytest.raises(GalleryError, match="source is"):
        build(theirs, tmp_path / "g")


def test_the_embeddings_themselves_are_never_overwritten(theirs: Path) -> None:
    """Named as our shards are, they would be."""
    for kind, suffix in (("img_emb", "npy"), ("metadata", "parquet")):
        for number in (0, 1):
            (theirs / kind / f"{kind}_{number}.{suffix}").rename(
                theirs / kind / f"{kind}_{number:05}.{suffix}"
            )
    before = contents(theirs)
    with pytest.raises(GalleryError, match="made elsewhere and would be overwritten"):
        build(theirs, theirs)
    assert contents(theirs) == before


def test_rows_without_a_name_and_huge_vectors(theirs: Path, tmp_path: Path) -> None:
    vectors = np.concatenate(
        [np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))]
    ).astype(np.float64)
    write(
        tmp_path / "odd",
        vectors,
        lat=[1] * 40,
        lon=list(range(40)),
        image_path=["", "", *NAMES[2:]],
    )
    np.save(tmp_path / "odd" / "img_emb" / "img_emb_1.npy", vectors[25:] * 1e60)
    gallery = build(tmp_path / "odd", tmp_path / "g")
    assert gallery.metadata.ids() == NAMES[2:]
    with (tmp_path / "g" / "skipped.csv").open() as file:
        skipped = [tuple(row.values()) for row in csv.DictReader(file)]
    assert skipped == [
        (f"metadata_0.parquet, row {n}", "it has no id and names no photograph") for n in (1, 2)
    ]


@pytest.mark.parametrize("column", ["id", "file"])
def test_coordinates_are_found_whatever_folders_are_above_a_photograph(
    theirs: Path, tmp_path: Path, column: str
) -> None:
    """Names without Flickr ids, as OpenStreetView-5M's: clip-retrieval writes whole paths."""
    vectors = np.concatenate([np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))])
    ids = [str(3_859_149_887_465_501 + n) for n in range(40)]
    write(
        tmp_path / "bare",
        vectors,
        image_path=[f"/data/osv5m/images/train/00/{identity}.jpg" for identity in ids],
    )
    named = [identity if column == "id" else f"00/{identity}.jpg" for identity in ids]
    places = write_table(
        tmp_path / "p.csv",
        [column, "latitude", "longitude"],
        [(name, n + 1, n) for n, name in enumerate(named)],
    )
    gallery = build(tmp_path / "bare", tmp_path / "g", places)
    assert gallery.metadata.locations()[:, 0].tolist() == list(range(1, 41))


def test_photographs_for_the_check_need_no_flickr_number(
    theirs: Path, photos: Path, tmp_path: Path
) -> None:
    vectors = np.concatenate([np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))])
    names = [f"/data/{n % 3}/holiday {n}.jpg" for n in range(40)]
    columns: dict[str, list[Any]] = {"image_path": names, "lat": [1] * 40, "lon": [2] * 40}
    write(tmp_path / "named", vectors, **columns)
    (tmp_path / "some").mkdir()
    for n in (3, 30):
        (photos / NAMES[n]).rename(tmp_path / "some" / f"holiday {n}.jpg")
    result = import_embeddings.check(
        import_embeddings.EmbeddingFolder(tmp_path / "named"), PixelEncoder(), tmp_path / "some"
    )
    assert (result.photos, result.lowest > 0.999) == (2, True)


def test_files_that_are_not_what_they_are_called_are_sentences(theirs: Path) -> None:
    np.save(theirs / "img_emb" / "img_emb_1.npy", np.full((15, 108), "a"))
    with pytest.raises(SourceError, match=r"img_emb_1\.npy is of the type <U1"):
        import_embeddings.EmbeddingFolder(theirs)
    (theirs / "metadata" / "metadata_1.parquet").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"metadata_1\.parquet cannot be read as Parquet"):
        import_embeddings.EmbeddingFolder(theirs)


def test_what_does_not_pair_is_told(theirs: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongEncoder, match=r"vectors of 108 dimensions, and pixels/4 gives 48"):
        import_embeddings.build(
            import_embeddings.EmbeddingFolder(theirs),
            PixelEncoder(4),
            tmp_path / "g",
            alias="toy",
            table=TABLE,
        )
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.jpg").write_bytes(photo_bytes(99))
    with pytest.raises(SourceError, match="no photograph of these rows"):
        import_embeddings.check(
            import_embeddings.EmbeddingFolder(theirs), PixelEncoder(), tmp_path / "none"
        )
    np.save(theirs / "img_emb" / "img_emb_0.npy", np.ones((7, 108)))
    with pytest.raises(SourceError, match=r"has the shape \(7, 108\).*25 rows"):
        import_embeddings.EmbeddingFolder(theirs)
    (theirs / "img_emb" / "img_emb_0.npy").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"cannot be read as a \.npy"):
        import_embeddings.EmbeddingFolder(theirs)
    (theirs / "img_emb" / "img_emb_0.npy").unlink()
    with pytest.raises(SourceError, match=r"1 files img_emb/\*.npy and 2 metadata"):
        import_embeddings.EmbeddingFolder(theirs)
