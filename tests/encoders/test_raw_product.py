"""A gallery in the order of raw inner products, and an encoder that asks it otherwise."""

from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import ConfigError
from img2loc.core.protocols import queries_of
from img2loc.core.types import Item, Location, Photo, Rejected
from img2loc.encoders.raw_product import RawProduct
from img2loc.encoders.transformers import TransformersClip
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from img2loc.gallery.neighbours import Retriever
from tests.conftest import Cli, MakePhoto, configure
from tests.toys import PixelEncoder


@pytest.fixture
def photos(make_photo: MakePhoto) -> list[Photo]:
    return [Photo(make_photo(f"g/{number}.jpg", number)) for number in range(20)]


@pytest.fixture
def tower(tiny_clip: Path) -> TransformersClip:
    """A tiny CLIP whose features have lengths of their own, some twice as long as others."""
    import torch

    clip = TransformersClip(str(tiny_clip), dtype="float32", device="cpu", batch_size=4)
    features = clip.features

    def stretched(pixels: torch.Tensor) -> torch.Tensor:
        made = features(pixels)
        return made * (1 + (made[:, :1] * 1e4).sin().abs())

    clip.features = stretched  # type: ignore[method-assign]
    return clip


def raw_features(tower: TransformersClip, photos: list[Photo]) -> np.ndarray:
    decoded = [tower.prepare(photo.image()) for photo in photos]
    return np.stack(list(tower.forward(decoded))).astype(np.float64)


def test_both_ends_are_in_the_order_of_raw_inner_products(
    tower: TransformersClip, photos: list[Photo], tmp_path: Path
) -> None:
    raw = raw_features(tower, photos)
    lengths = np.linalg.norm(raw, axis=1)
    assert lengths.max() > 1.3 * lengths.min()
    encoder = RawProduct(tower, longest=2 * float(lengths.max()))
    rows = np.stack([row for row in encoder.encode(photos) if not isinstance(row, Rejected)])
    queries = np.stack(
        [row for row in queries_of(encoder, photos) if not isinstance(row, Rejected)]
    )
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-6)
    expected = raw / lengths[:, None] @ raw.T / (2 * lengths.max())
    assert np.allclose(queries @ rows.T, expected, atol=1e-5)
    items = [Item(str(number), Location(number, 0), photo) for number, photo in enumerate(photos)]
    stamp = {"name": encoder.name, "alias": "raw", "table": {}}
    gallery = Gallery.build(tmp_path / "g", [(rows, table_of(items))], encoder=stamp, rows=20)
    cosines = raw / lengths[:, None] @ (raw / lengths[:, None]).T
    differs = False
    for number, (_, found) in enumerate(Retriever(encoder, gallery).neighbours(photos, 20, 20)):
        assert not isinstance(found, Rejected)
        order = np.argsort(-expected[number])
        assert [near.id for near in found.nearest] == [str(row) for row in order]
        assert [far.id for far in found.farthest] == [str(row) for row in order[::-1]]
        differs |= bool((order != np.argsort(-cosines[number])).any())
    assert differs  # Else cosine would have done.


def test_a_row_that_is_too_long_is_rejected_and_a_query_never(
    tower: TransformersClip, photos: list[Photo]
) -> None:
    lengths = np.linalg.norm(raw_features(tower, photos), axis=1)
    longest = float(np.sort(lengths)[-3]) + 1e-6
    encoder = RawProduct(tower, longest)
    rows = list(encoder.encode(photos))
    reasons = [row.reason for row in rows if isinstance(row, Rejected)]
    assert len(reasons) == 2
    assert all(f"above longest = {longest:g}: raise it" in reason for reason in reasons)
    assert not any(isinstance(row, Rejected) for row in queries_of(encoder, photos))
    broken = Photo(Path("absent.jpg"))
    (row,) = queries_of(encoder, [broken])
    assert isinstance(row, Rejected)


def test_what_it_cannot_wrap_and_its_name(tower: TransformersClip) -> None:
    with pytest.raises(ConfigError, match="gives unit vectors alone"):
        RawProduct(PixelEncoder(), 1.0)
    with pytest.raises(ConfigError, match="should be a length above 0"):
        RawProduct(tower, 0.0)
    one, two = RawProduct(tower, 1.5), RawProduct(tower, 3.0)
    assert one.name != two.name
    assert tower.name in one.name
    assert one.dim == tower.dim + 1


def test_a_gallery_is_built_and_asked_from_the_command_line(
    run: Cli, tiny_clip: Path, photos: list[Photo], tmp_path: Path
) -> None:
    configure(
        f'[encoder.tiny]\nkind = "transformers"\nmodel = "{tiny_clip}"\ndtype = "float32"\n'
        '[encoder.raw]\nkind = "raw_product"\nencoder = "tiny"\nlongest = 1000.0\n'
    )
    table = tmp_path / "g" / "rows.csv"
    rows = "".join(f"{number}.jpg,{number + 1},1\n" for number in range(20))
    table.write_text(f"file,lat,lon\n{rows}")
    code, _, err = run("index", "build", table, "--encoder", "raw", "--out", tmp_path / "out")
    assert code == 0, err
    code, out, err = run("ask", photos[3].path, "--gallery", tmp_path / "out", "--json")
    assert code == 0, err
    assert '"lat"' in out
