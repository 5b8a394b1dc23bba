"""Pruning keeps every row that may be among the nearest or farthest, on any data."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError
from img2loc.core.geo import Array
from img2loc.core.types import Embeddings
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index import onnx_products, pruning
from img2loc.gallery.index.pruning import PruningBounds
from img2loc.gallery.index.pruning_writer import PruningWriter
from tests.gallery.test_gallery import ENCODER, Batches, brute_force, items, unit

ROWS, DIM = 10_000, 192


def decaying(rows: int, seed: int = 0) -> Embeddings:
    """Few directions hold most of the spread, as in reality; every tenth row repeats."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(rows, DIM)) / (1 + np.arange(DIM)) ** 0.8
    made[:, 0] += 0.5
    made[9::10] = made[: len(made[9::10])]
    return unit(made)


def even(rows: int, seed: int = 0) -> Embeddings:
    """No direction is better than another: nothing can be left out."""
    return unit(np.random.default_rng(seed).normal(size=(rows, DIM)))


def written(folder: Path, rows: Embeddings) -> PruningBounds:
    file = PruningWriter(folder, rows[:5000], ExitStack())
    for start in range(0, len(rows), 7000):
        file.add(rows[start : start + 7000])
    file.close()
    return PruningBounds(folder)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    folder = tmp_path_factory.mktemp("pruned")
    rows = decaying(ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruning, "FROM_ROWS", 1000)
        made = Gallery.build(
            folder, Batches(rows, items(ROWS), 3000), encoder=ENCODER, rows=ROWS, spec="SQfp16"
        )
    assert all((folder / name).exists() for name in pruning.FILES)
    return made


@pytest.mark.parametrize("k", [1, 16, 300, ROWS + 5])
def test_nearest_and_farthest_are_those_of_brute_force(gallery: Gallery, k: int) -> None:
    rows = decaying(ROWS).astype(np.float16).astype(np.float32)
    for query in np.concatenate([rows[:2], decaying(3, seed=1), even(2, seed=2)])[
        :: 1 if k < ROWS else 4
    ]:
        query = query / np.linalg.norm(query)
        result = gallery.search(query, k, k)
        assert [entry.id for entry in result.nearest] == brute_force(rows, query, k, 1)
        assert [entry.id for entry in result.farthest] == brute_force(rows, query, k, -1)


def test_what_is_excluded_never_appears(gallery: Gallery) -> None:
    rows = decaying(ROWS).astype(np.float16).astype(np.float32)
    keep = np.arange(ROWS) % 7 != 3
    for query in decaying(5, seed=4):
        result = gallery.search(query, 20, 20, excluded=np.arange(3, ROWS, 7))
        assert [entry.id for entry in result.nearest] == brute_force(rows, query, 20, 1, keep)
        assert [entry.id for entry in result.farthest] == brute_force(rows, query, 20, -1, keep)


def test_what_is_excluded_never_appears_where_the_basis_does_not_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few rows and the query lie almost wholly outside the basis, excluded ones the nearest."""
    monkeypatch.setattr(pruning, "FROM_ROWS", 1000)
    numbers = np.arange(4000)
    rows = np.zeros((4000, DIM))
    rows[:, 1:140] = np.random.default_rng(0).normal(size=(4000, 139))
    few = [
        (numbers[numbers % 7 == author][:count], share)
        for author, count, share in ((3, 10, 0.9), (1, 24, 0.5))
    ]
    for own, share in few:
        rows[own] = 0
        rows[own, 150] = share * (-1) ** np.arange(len(own))
        rows[own, 0] = np.sqrt(1 - share**2)
    away = numbers[numbers % 7 == 5][:100]
    rows[away] = -np.eye(DIM)[0]
    made = Gallery.build(
        tmp_path, Batches(unit(rows), items(4000)), encoder=ENCODER, rows=4000, spec="SQfp16"
    )
    query = np.zeros(DIM, np.float32)
    query[[0, 150]] = 1e-6, 1
    result = made.search(query, 8, excluded=np.arange(3, 4000, 7)).nearest
    stored = unit(rows).astype(np.float16).astype(np.float32)
    assert [entry.id for entry in result] == brute_force(stored, query, 8, 1, numbers % 7 != 3)


def test_probabilities_still_come_from_every_row(gallery: Gallery) -> None:
    rows = decaying(ROWS).astype(np.float16).astype(np.float64)
    (query,) = decaying(1, seed=6)
    share = np.exp(30 * (rows @ query.astype(np.float64)))
    result = gallery.search(query, 3, scale=30.0)
    assert result.nearest[0].probability == pytest.approx(share.max() / share.sum(), rel=1e-5)


def test_few_rows_are_left_over_where_the_spread_decays(tmp_path: Path) -> None:
    rows = decaying(ROWS)
    bounds = written(tmp_path, rows)

    def scores(chosen: NDArray[np.int64]) -> Array:
        return np.asarray(rows[chosen].astype(np.float64) @ query.astype(np.float64))

    for query in decaying(5, seed=3):
        for sign in (1, -1):
            none = np.empty(0, dtype=np.int64)
            (remaining,) = bounds.candidates(query[None], [[(8, sign)]], [none], [scores])
            assert remaining is not None
            best = np.argsort(-sign * (rows @ query))[:8]
            assert set(best) <= set(remaining[0])
            assert len(remaining[0]) < ROWS / 50


def test_the_bound_holds_for_every_row(tmp_path: Path) -> None:
    """The worst case: queries that lie where the basis does not reach."""
    rows = np.concatenate([decaying(ROWS // 2), even(500, seed=5)])
    bounds = written(tmp_path, rows)
    for query in np.concatenate([even(3, seed=8), decaying(3, seed=9)]):
        for _ in range(2 * pruning.PREPARED_FROM):  # As they are, and prepared.
            found = bounds.products(query[None])
            assert found is not None
            (coded,), (products,) = found
            off = np.abs(products * coded.unit - rows @ query)
            off[bounds.exceptions] = 0
            assert (off <= coded.error).all()


def test_the_switch(tmp_path: Path, gallery: Gallery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Off: nothing is written, what is there is not read, and the results are the same."""
    assert PruningBounds.open(gallery.folder) is not None
    monkeypatch.setattr(pruning, "ENABLED", False)
    monkeypatch.setattr(pruning, "FROM_ROWS", 1000)
    assert PruningBounds.open(gallery.folder) is None
    plain = Gallery.open(gallery.folder)
    for query in decaying(5, seed=11):
        assert plain.search(query, 16, 16) == gallery.search(query, 16, 16)
    Gallery.build(
        tmp_path, Batches(decaying(2000), items(2000)), encoder=ENCODER, rows=2000, spec="SQfp16"
    )
    assert not any((tmp_path / name).exists() for name in pruning.FILES)


def test_where_nothing_can_be_pruned_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "FROM_ROWS", 1000)
    rows = even(5000)
    made = Gallery.build(
        tmp_path, Batches(rows, items(5000)), encoder=ENCODER, rows=5000, spec="SQfp16"
    )
    stored = rows.astype(np.float16).astype(np.float32)
    for query in even(4, seed=7):
        assert [entry.id for entry in made.search(query, 9).nearest] == brute_force(
            stored, query, 9, 1
        )


def test_another_spec_leaves_no_pruning_bounds_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "FROM_ROWS", 1000)
    rows = even(2000)
    for spec, expected in (("SQfp16", True), ("Flat", False)):
        Gallery.build(tmp_path, Batches(rows, items(2000)), encoder=ENCODER, rows=2000, spec=spec)
        assert (tmp_path / pruning.FILES[0]).exists() == expected


@pytest.mark.parametrize("name", pruning.FILES)
def test_a_truncated_file_of_pruning_bounds_is_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(pruning, "FROM_ROWS", 1000)
    Gallery.build(
        tmp_path, Batches(decaying(2000), items(2000)), encoder=ENCODER, rows=2000, spec="SQfp16"
    )
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:200])
    with pytest.raises(GalleryError, match="Build it again"):
        Gallery.open(tmp_path)


def test_a_batch_has_the_results_of_each_query_alone(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ties and exclusions too, in several groups; `even` leaves too many rows to prune."""
    stored = decaying(ROWS)[:3]
    queries = np.concatenate([stored, decaying(8, seed=12), even(2, seed=13)])
    excluded = [np.arange(number, ROWS, 5) for number in range(len(queries))]
    excluded[0] = np.empty(0, dtype=np.int64)
    monkeypatch.setattr(pruning, "_AT_ONCE", 4 * ROWS)
    for near, far in ((16, 16), (5, 0), (400, 1)):
        together = gallery.index.search(queries, near, far, excluded)
        for number, result in enumerate(together):
            (alone,) = gallery.index.search(
                queries[number : number + 1], near, far, excluded[number : number + 1]
            )
            for side, other in ((result.nearest, alone.nearest), (result.farthest, alone.farthest)):
                assert np.array_equal(side.rows, other.rows)
                assert np.array_equal(side.similarities, other.similarities)


def products(rows: NDArray[np.uint8], queries: NDArray[np.int8]) -> NDArray[np.int64]:
    return queries.astype(np.int64) @ (rows.astype(np.int64) - onnx_products.ZERO).T


@pytest.mark.parametrize("columns", [128, 512])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 1031])
def test_products_are_whole_numbers_to_half_of_one(columns: int, count: int) -> None:
    random = np.random.default_rng(count)
    rows = random.integers(1, 256, (count, columns), dtype=np.uint8)
    rows[:, :: onnx_products.BLOCK] = onnx_products.ZERO
    for number in (1, 2, 9, 50):
        # Small codes too, which without guards would be rounded otherwise.
        queries = random.integers(-64, 65, (number, columns)).astype(np.int8)
        queries[::2] //= 7
        for kernel in (onnx_products.at_once, onnx_products.prepared):
            found = kernel(rows)(queries)
            assert np.abs(found - products(rows, queries)).max() < 0.5


def test_products_that_are_not_exact_here_are_not_used(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert onnx_products.exact(onnx_products.at_once, onnx_products.LARGEST_AT_ONCE)
    assert onnx_products.exact(onnx_products.prepared, onnx_products.LARGEST_CODE)
    queries, none = decaying(30, seed=14), [np.empty(0, dtype=np.int64)] * 30
    expected = gallery.index.search(queries, 4, 4, none)
    monkeypatch.setattr(pruning, "exact", lambda kernel, largest: False)
    plain = Gallery.open(gallery.folder).index.search(queries, 4, 4, none)
    for result, other in zip(plain, expected, strict=True):
        assert np.array_equal(result.nearest.rows, other.nearest.rows)
        assert np.array_equal(result.farthest.rows, other.farthest.rows)


def test_saturated_sums_are_noticed() -> None:
    def saturated(rows: NDArray[np.uint8]) -> onnx_products.Products:
        kernel = onnx_products.at_once(rows)
        return lambda queries: np.minimum(kernel(queries), 2_000_000)

    assert not onnx_products.exact(saturated, onnx_products.LARGEST_CODE)


def test_files_of_an_earlier_version_are_not_read_and_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build() -> Gallery:
        return Gallery.build(
            tmp_path, Batches(decaying(600), items(600)), encoder=ENCODER, rows=600, spec="SQfp16"
        )

    build()
    for name in pruning.OLD_FILES:
        (tmp_path / name).write_bytes(b"old")
    assert len(Gallery.open(tmp_path).search(decaying(1)[0], 5).nearest) == 5
    build()
    assert not any((tmp_path / name).exists() for name in pruning.OLD_FILES)


def test_a_small_gallery_needs_neither_torch_nor_onnxruntime(tmp_path: Path) -> None:
    code = (
        "import sys; import numpy as np; from pathlib import Path\n"
        "sys.modules.update(torch=None, onnxruntime=None, scipy=None)\n"
        "from tests.gallery.test_gallery import ENCODER, Batches, items, unit\n"
        "from img2loc.gallery.gallery import Gallery\n"
        "rows = unit(np.random.default_rng(0).normal(size=(300, 32)))\n"
        "for spec in ('Flat', 'SQfp16', 'IVF4,SQfp16'):\n"
        "    gallery = Gallery.build(Path(sys.argv[1]) / spec, Batches(rows, items(300)),\n"
        "                            encoder=ENCODER, rows=300, spec=spec)\n"
        "    gallery.search(rows[0], 5, 5, scale=20.0 if gallery.index.exact else None)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
