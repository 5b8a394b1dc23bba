"""Exact nearest and farthest search against brute force, exclusions, and what a gallery refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from img2loc.core.errors import GalleryError, WrongEncoder
from img2loc.core.geo import Array
from img2loc.core.types import Embedding, Embeddings, Item, Location, Photo
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import Metadata, table_of

ENCODER = {"name": "pixels/6", "alias": "pixels", "table": {"kind": "tests.toys:PixelEncoder"}}


def unit(rows: Array) -> Embeddings:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def vectors(rows: int, dim: int = 24, seed: int = 0) -> Embeddings:
    """Rows with the spread of real embeddings: a common direction, and every fifth a duplicate."""
    random = np.random.default_rng(seed)
    made = random.normal(size=(rows, dim)) + 1.5
    made[4::5] = made[: len(made[4::5])]
    return unit(made)


def items(rows: int) -> list[Item]:
    random = np.random.default_rng(9)
    return [
        Item(
            f"id{n}",
            Location(random.uniform(-90, 90), random.uniform(-180, 180)),
            Photo(Path()),
            f"label {n}",
            f"author{n % 7}",
        )
        for n in range(rows)
    ]


class Batches:
    def __init__(self, rows: Embeddings, named: list[Item], size: int = 100) -> None:
        self.rows, self.named, self.size = rows, named, size

    def __iter__(self) -> Iterator[tuple[Embeddings, pa.Table]]:
        for start in range(0, len(self.rows), self.size):
            yield (
                self.rows[start : start + self.size],
                table_of(self.named[start : start + self.size]),
            )


def build(folder: Path, rows: Embeddings, spec: str = "auto") -> Gallery:
    return Gallery.build(
        folder, Batches(rows, items(len(rows))), encoder=ENCODER, rows=len(rows), spec=spec
    )


def brute_force(
    rows: Embeddings, query: Embeddings, k: int, sign: int, keep: np.ndarray | None = None
) -> list[str]:
    scores = (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1) * sign
    order = np.lexsort((np.arange(len(rows)), -scores))
    if keep is not None:
        order = order[keep[order]]
    return [f"id{row}" for row in order[:k]]


def ids(gallery: Gallery, query: Embedding, k: int, sign: int, **rows: list[str]) -> list[str]:
    """The ids of the k nearest (`sign` is 1) or farthest (-1), without some `ids` and `authors`."""
    excluded = gallery.metadata.rows_by(**rows)
    neighbours = gallery.search(query, *((k, 0) if sign > 0 else (0, k)), excluded=excluded)
    return [entry.id for entry in (neighbours.nearest if sign > 0 else neighbours.farthest)]


@pytest.mark.parametrize("k", [1, 16, 999, 1000, 5000])
def test_nearest_and_farthest_agree_with_brute_force_ties_included(tmp_path: Path, k: int) -> None:
    rows = vectors(1000)
    gallery = build(tmp_path / "g", rows)
    queries = np.concatenate([rows[:5], vectors(20, seed=1)])  # rows of its own have exact ties
    results = [gallery.search(query, k, k) for query in queries]
    for query, neighbours in zip(queries, results, strict=True):
        assert [entry.id for entry in neighbours.nearest] == brute_force(rows, query, k, 1)
        assert [entry.id for entry in neighbours.farthest] == brute_force(rows, query, k, -1)
    assert results[0].nearest[0].similarity == pytest.approx(1.0)
    assert results[0].farthest[0].similarity == pytest.approx(
        float((rows @ queries[0]).min()), abs=1e-5
    )


def test_many_equal_rows_at_the_cut_are_taken_in_order(tmp_path: Path) -> None:
    rows = np.repeat(vectors(3), 200, axis=0)
    gallery = build(tmp_path / "g", rows)
    assert ids(gallery, rows[0], 5, 1) == [f"id{n}" for n in range(5)]
    assert ids(gallery, rows[0], 5, -1) == brute_force(rows, rows[0], 5, -1)


def test_half_precision_is_exact_over_its_own_vectors(tmp_path: Path) -> None:
    rows = vectors(1000)
    gallery = build(tmp_path / "g", rows, "SQfp16")
    stored = rows.astype(np.float16).astype(np.float32)
    for query in vectors(10, seed=3):
        assert ids(gallery, query, 16, 1) == brute_force(stored, query, 16, 1)
        assert ids(gallery, query, 16, -1) == brute_force(stored, query, 16, -1)


def test_inverted_file_reads_every_list(tmp_path: Path) -> None:
    rows = vectors(2000)
    gallery = build(tmp_path / "g", rows, "IVF16,Flat")
    for query in vectors(10, seed=4):
        assert set(ids(gallery, query, 16, 1)) == set(brute_force(rows, query, 16, 1))
        others = brute_force(rows, query, 16, -1, np.arange(2000) % 7 != 1)
        assert set(ids(gallery, query, 16, -1, authors=["author1"])) == set(others)


def test_excluded_ids_and_authors_never_appear(tmp_path: Path) -> None:
    rows = vectors(700)
    gallery = build(tmp_path / "g", rows)
    keep = np.arange(700) % 7 != 3
    keep[:50] = False
    gone = [f"id{n}" for n in range(50)]
    for query in vectors(10, seed=5):
        for sign in (1, -1):
            hits = ids(gallery, query, 20, sign, ids=gone, authors=["author3", "nobody"])
            assert hits == brute_force(rows, query, 20, sign, keep)
    assert gallery.search(rows[0], 5, scale=40.0, excluded=range(700)).nearest == ()


def test_an_unknown_author_excludes_nobody(tmp_path: Path) -> None:
    rows = vectors(20)
    named = [Item(item.id, item.location, item.photo) for item in items(20)]
    gallery = Gallery.build(tmp_path / "g", Batches(rows, named), encoder=ENCODER, rows=20)
    assert len(ids(gallery, rows[0], 20, 1, authors=[""])) == 20


def test_rows_travel_with_the_vectors(tmp_path: Path) -> None:
    rows = vectors(50)
    build(tmp_path / "g", rows)
    reopened = Gallery.open(tmp_path / "g")
    expected = items(50)[7]
    (first,) = reopened.search(rows[7], 1).nearest
    assert (first.id, first.label, first.location) == (
        expected.id,
        expected.label,
        expected.location,
    )
    assert (len(reopened), reopened.dim, reopened.encoder_name) == (50, 24, "pixels/6")


def test_metadata_of_an_earlier_version_names_the_gallerys_source() -> None:
    (batch,) = Metadata(table_of(items(3)).drop_columns("source"), "yfcc").batches()
    assert batch["source"].to_pylist() == ["yfcc"] * 3
    assert batch["id"].to_pylist() == ["id0", "id1", "id2"]


@pytest.mark.parametrize(
    "spec",
    [
        "PQ8",
        "PCA16,Flat",
        "OPQ8,IVF16,PQ8",
        "IVF16,PQ8,RFlat",
        "PQ16x4fs",
        "RR16,Flat",
        "IVF0,Flat",
        "Nonsense",
    ],
)
def test_indexes_that_lose_the_farthest_are_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(GalleryError, match="not known to find both"):
        build(tmp_path / "g", vectors(50), spec)


def test_too_few_rows_to_train_is_a_message(tmp_path: Path) -> None:
    with pytest.raises(GalleryError, match="50 rows are too few for the 4,096 lists"):
        build(tmp_path / "g", vectors(50), "IVF4096,Flat")


@pytest.mark.parametrize("spec", ["HNSW32", "HNSW32,Flat", "NSG32", "PCA16,HNSW32"])
def test_graph_indexes_are_refused(tmp_path: Path, spec: str) -> None:
    with pytest.raises(GalleryError, match="graph index"):
        build(tmp_path / "g", vectors(50), spec)


def test_a_graph_index_put_there_by_hand_is_refused(tmp_path: Path) -> None:
    import faiss

    build(tmp_path / "g", vectors(50))
    graph = faiss.index_factory(24, "HNSW8", faiss.METRIC_INNER_PRODUCT)
    graph.add(vectors(50))
    faiss.write_index(graph, str(tmp_path / "g" / "gallery.faiss"))
    with pytest.raises(GalleryError, match="graph index"):
        Gallery.open(tmp_path / "g")


def test_what_a_gallery_refuses(tmp_path: Path) -> None:
    gallery = build(tmp_path / "g", vectors(50))
    with pytest.raises(WrongEncoder, match=r"pixels/6.*other/3"):
        gallery.require("other/3")
    with pytest.raises(WrongEncoder, match="shape"):
        gallery.search(vectors(1, dim=12)[0], 3)
    with pytest.raises(GalleryError, match="length"):
        gallery.search(vectors(1)[0] * 2, 3)
    with pytest.raises(GalleryError, match="length"):
        build(tmp_path / "h", vectors(50) * 2)
    with pytest.raises(GalleryError, match="length nan"):
        build(tmp_path / "h", vectors(50) * np.float32("nan"))
    with pytest.raises(GalleryError, match="not one row"):
        build(tmp_path / "h", vectors(50)[:0])


def test_a_half_written_gallery_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    build(folder, vectors(50))
    with pytest.raises(GalleryError, match=r"no gallery at .*absent.*img2loc index build"):
        Gallery.open(tmp_path / "absent")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "rows": 51}))
    with pytest.raises(GalleryError, match="damaged"):
        Gallery.open(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(GalleryError, match="format 99"):
        Gallery.open(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(GalleryError, match="cannot be read"):
        Gallery.open(folder)
    (folder / "manifest.json").unlink()
    (folder / "build.json").write_text("{}")
    with pytest.raises(GalleryError, match="half-built"):
        Gallery.open(folder)


@pytest.mark.parametrize("name", ["gallery.faiss", "rows.arrow"])
def test_a_truncated_file_is_a_message(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "g"
    build(folder, vectors(50))
    torn = folder / name
    torn.write_bytes(torn.read_bytes()[:100])
    with pytest.raises(GalleryError, match="Build it again"):
        Gallery.open(folder)


@pytest.mark.parametrize("spec", ["Flat", "SQfp16"])
def test_the_streamed_file_is_the_one_that_faiss_writes(tmp_path: Path, spec: str) -> None:
    import faiss

    rows = vectors(333)
    build(tmp_path / "g", rows, spec)
    index = faiss.index_factory(24, spec, faiss.METRIC_INNER_PRODUCT)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "g" / "gallery.faiss").read_bytes() == (
        tmp_path / "theirs.faiss"
    ).read_bytes()


@pytest.mark.parametrize("spec", ["Flat", "SQfp16"])
def test_similarities_and_probabilities_are_those_of_the_whole_gallery(
    tmp_path: Path, spec: str
) -> None:
    rows = vectors(900)
    gallery = build(tmp_path / "g", rows, spec)
    stored = (
        rows.astype(np.float16).astype(np.float64) if spec == "SQfp16" else rows.astype(np.float64)
    )
    (query,) = vectors(1, seed=6)
    expected = stored @ query.astype(np.float64)
    assert np.abs(gallery.similarities(query[None])[0] - expected).max() < 1e-6
    share = np.exp(40 * expected) / np.exp(40 * expected).sum()
    result = gallery.search(query, 900, 3, scale=40.0)
    assert [entry.probability for entry in result.nearest] == pytest.approx(
        sorted(share, reverse=True), abs=1e-6
    )
    assert sum(entry.probability or 0 for entry in result.nearest) == pytest.approx(1.0, abs=1e-5)
    assert result.farthest[0].probability == pytest.approx(share.min(), rel=1e-5)
    without = gallery.search(query, 1, scale=40.0, excluded=np.arange(1, 900, 7)).nearest[0]
    kept = np.exp(40 * expected[np.arange(900) % 7 != 1])
    assert without.probability == pytest.approx(kept.max() / kept.sum(), abs=1e-6)
    assert gallery.search(query, 3).nearest[0].probability is None


def test_the_mean_of_views_ranks_by_mean_similarity(tmp_path: Path) -> None:
    rows = vectors(500)
    gallery = build(tmp_path / "g", rows)
    views = vectors(10, seed=8)
    result = gallery.search(views.mean(axis=0), 20)
    expected = (rows.astype(np.float64) @ views.T.astype(np.float64)).mean(axis=1)
    assert [entry.similarity for entry in result.nearest] == pytest.approx(
        sorted(expected, reverse=True)[:20], abs=1e-6
    )


def test_an_index_that_is_not_exact_gives_no_probabilities(tmp_path: Path) -> None:
    gallery = build(tmp_path / "g", vectors(500), "SQ8")
    assert gallery.search(vectors(1)[0], 3, scale=40.0).nearest[0].probability is None
    with pytest.raises(GalleryError, match=r"SQ8.*--spec Flat"):
        gallery.similarities(vectors(1))


def test_the_automatic_spec_by_size() -> None:
    from img2loc.gallery.index.spec import resolve_spec

    sizes = (100_000, 1_000_000, 4_100_000)
    assert [resolve_spec("auto", rows) for rows in sizes] == ["Flat", "SQfp16", "IVF4096,SQfp16"]
    assert (
        resolve_spec("auto", 4_100_000, "points") == "SQfp16"
    )  # Its probabilities need every row.
