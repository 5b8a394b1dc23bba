"""Embeddings that somebody else made become a gallery: checked, without the photographs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from img2loc import importing
from img2loc.errors import SourceError, WrongEncoder
from img2loc.gallery import Gallery
from img2loc.types import Photo, Rejected
from tests.archives import mp16_name, photo_bytes, write_table
from tests.test_indexing import TABLE
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
    """As clip-retrieval writes it: two files, vectors not of unit length, coordinates among the metadata."""
    made = [row for row in PixelEncoder().encode(Photo(photos / name) for name in NAMES) if not isinstance(row, Rejected)]
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
    return importing.build(importing.Embeddings(folder, places), PixelEncoder(), out, alias="toy", table=TABLE)


def test_they_become_a_gallery_that_finds_its_photographs(theirs: Path, photos: Path, tmp_path: Path) -> None:
    gallery = build(theirs, tmp_path / "g")
    assert (len(gallery), gallery.encoder_name, gallery.manifest["imported"]) == (40, "pixels/6", {"check": None})
    (query,) = PixelEncoder().encode([Photo(photos / NAMES[33])])
    found = gallery.nearest(np.stack([query]), 1)[0][0]  # type: ignore[list-item]
    assert (found.id, found.location.lat, found.label) == (f"/data/images/{NAMES[33]}", 34, "no. 33")
    assert found.similarity == pytest.approx(1, abs=1e-3)
    assert len(build(theirs, tmp_path / "g")) == 40


def test_coordinates_come_from_a_table_by_whichever_name(theirs: Path, photos: Path, tmp_path: Path) -> None:
    vectors = np.concatenate([np.load(path) for path in sorted(theirs.glob("img_emb/*.npy"))])
    write(tmp_path / "bare", vectors, url=[""] * 40)
    with pytest.raises(SourceError, match="no column for the lat"):
        importing.Embeddings(tmp_path / "bare")
    places = write_table(tmp_path / "p.csv", ["IMG_ID", "LAT", "LON"], [(mp16_name(n), n + 1, n) for n in reversed(range(38))])
    gallery = build(tmp_path / "bare", tmp_path / "g", places)
    assert (len(gallery), gallery.manifest["skipped"]) == (38, 2)
    latitudes = dict(zip(gallery.ids(), gallery.locations()[:, 0], strict=True))
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
    found = importing.check(importing.Embeddings(theirs), PixelEncoder(), photos)
    assert found.photos == 32
    assert 0.999 < found.lowest <= found.median <= 1.001

    class Other(PixelEncoder):
        def encode(self, photos):  # type: ignore[no-untyped-def]
            return (-row if isinstance(row, np.ndarray) else row for row in super().encode(photos))

    with pytest.raises(WrongEncoder, match=r"are not by pixels/6: of 32 photos encoded again"):
        importing.check(importing.Embeddings(theirs), Other(), photos)


def test_what_does_not_pair_is_told(theirs: Path, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongEncoder, match=r"vectors of 108 dimensions, and pixels/4 gives 48"):
        importing.build(importing.Embeddings(theirs), PixelEncoder(4), tmp_path / "g", alias="toy", table=TABLE)
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "x.jpg").write_bytes(photo_bytes(99))
    with pytest.raises(SourceError, match="no photograph of these rows"):
        importing.check(importing.Embeddings(theirs), PixelEncoder(), tmp_path / "none")
    np.save(theirs / "img_emb" / "img_emb_0.npy", np.ones((7, 108)))
    with pytest.raises(SourceError, match=r"has the shape \(7, 108\).*25 rows"):
        importing.Embeddings(theirs)
    (theirs / "img_emb" / "img_emb_0.npy").write_bytes(b"junk")
    with pytest.raises(SourceError, match=r"cannot be read as a \.npy"):
        importing.Embeddings(theirs)
    (theirs / "img_emb" / "img_emb_0.npy").unlink()
    with pytest.raises(SourceError, match=r"1 files img_emb/\*.npy and 2 metadata"):
        importing.Embeddings(theirs)
