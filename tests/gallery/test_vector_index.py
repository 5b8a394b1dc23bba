"""A third party's vector index serves a gallery and a locator as FAISS's flat index does."""

import json
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from img2loc.core.errors import GalleryError
from img2loc.core.protocols import VectorIndex
from img2loc.core.types import Embeddings, Hits, Item, Location, Photo, RowNumbers, SearchResult
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import Metadata, table_of
from img2loc.locators.retrieval import Retrieval
from tests.conftest import MakePhoto
from tests.gallery.test_gallery import items, vectors
from tests.toys import PixelEncoder

STARTER = Path(__file__).parents[2] / "index" / "starter"


class NumpyIndex:
    """The whole role in a screen: a matrix in memory."""

    exact = True

    def __init__(self, matrix: Embeddings) -> None:
        self._matrix = matrix
        self.dim = matrix.shape[1]

    def __len__(self) -> int:
        return len(self._matrix)

    def search(
        self,
        queries: Embeddings,
        nearest: int,
        farthest: int,
        excluded: Sequence[RowNumbers],
        scale: float | None = None,
    ) -> list[SearchResult]:
        results = []
        for scores, hidden in zip(
            queries.astype(np.float64) @ self._matrix.T, excluded, strict=True
        ):
            rows = np.setdiff1d(np.arange(len(scores)), hidden)
            near, far = (
                rows[np.argsort(-sign * scores[rows], kind="stable")[:k]]
                for k, sign in ((nearest, 1), (farthest, -1))
            )
            total = None if scale is None else float(np.logaddexp.reduce(scale * scores[rows]))
            results.append(SearchResult(Hits(near, scores[near]), Hits(far, scores[far]), total))
        return results

    def similarities(self, queries: Embeddings) -> Embeddings:
        return queries @ self._matrix.T

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        yield self._matrix


def both(
    folder: Path, rows: Embeddings, named: list[Item], name: str, of: str = "photos"
) -> tuple[Gallery, Gallery]:
    """The same gallery over FAISS's flat index and over the third party's."""
    encoder = {"name": name, "table": {}}
    flat = Gallery.build(
        folder,
        [(rows, table_of(named))],
        encoder=encoder,
        rows=len(rows),
        spec="Flat",
        about={"of": of},
    )
    manifest = {"rows": len(rows), "encoder": encoder, "of": of}
    index: VectorIndex = NumpyIndex(rows)
    return flat, Gallery(Path("elsewhere"), manifest, index, Metadata(table_of(named)))


def test_search_and_probabilities_are_those_of_the_flat_index(tmp_path: Path) -> None:
    ours, theirs = both(tmp_path, vectors(400)[: 400 * 4 // 5], items(320), "any", "points")
    for query in vectors(10, seed=5):
        for excluded in ((), range(0, 320, 3), range(320)):
            expected, result = (
                gallery.search(query, 9, 9, scale=40.0, excluded=excluded)
                for gallery in (ours, theirs)
            )
            for side in ("nearest", "farthest"):
                for entry, other in zip(
                    getattr(expected, side), getattr(result, side), strict=True
                ):
                    assert (entry.id, entry.location) == (other.id, other.location)
                    assert entry.similarity == pytest.approx(other.similarity, abs=1e-6)
                    assert entry.probability == pytest.approx(other.probability, abs=1e-6)
    queries = vectors(3, seed=6)
    assert theirs.similarities(queries) == pytest.approx(ours.similarities(queries), abs=1e-6)


class Itself:
    """Excludes each photograph's own row."""

    similarity = math.inf

    def __call__(self, photo: Photo) -> RowNumbers:
        return np.array([int(photo.path.stem)])

    def add(self, photo: Photo, rows: RowNumbers) -> None:
        raise NotImplementedError


def test_a_locator_works_over_it(tmp_path: Path, make_photo: MakePhoto) -> None:
    encoder = PixelEncoder()
    photos = [Photo(make_photo(f"{seed}.jpg", seed)) for seed in range(12)]
    named = [Item(f"{n}", Location(n, -n), photo) for n, photo in enumerate(photos)]
    rows = np.stack(list(encoder.encode(photos)))  # type: ignore[arg-type]
    ours, theirs = both(tmp_path / "g", rows, named, encoder.name)

    for exclusions in (None, Itself()):
        expected, guesses = (
            list(Retrieval(encoder, gallery, nearest=5, exclusions=exclusions).locate(photos))
            for gallery in (ours, theirs)
        )
        for photo, guess, other in zip(photos, expected, guesses, strict=True):
            assert (guess.location, guess.spread_km) == (other.location, other.spread_km)
            assert [entry.id for entry in guess.neighbours.nearest] == [
                entry.id for entry in other.neighbours.nearest
            ]
            assert (guess.neighbours.nearest[0].id == photo.path.stem) is (exclusions is None)


def test_a_batch_is_searched_as_each_query_alone(tmp_path: Path) -> None:
    index = both(tmp_path, vectors(300), items(300), "any")[0].index
    queries = vectors(4, seed=2)
    excluded: list[RowNumbers] = [np.arange(n * 60) for n in range(4)]
    for query, hidden, result in zip(
        queries, excluded, index.search(queries, 7, 3, excluded, 20.0), strict=True
    ):
        (alone,) = index.search(query[None], 7, 3, [hidden], 20.0)
        assert result.log_sum_exp == alone.log_sum_exp
        for side, other in zip(
            (result.nearest, result.farthest), (alone.nearest, alone.farthest), strict=True
        ):
            assert np.array_equal(side.rows, other.rows)
            assert not set(side.rows) & set(hidden)


def test_a_gallery_of_another_engine_is_named(tmp_path: Path) -> None:
    shutil.copytree(STARTER, tmp_path / "g")
    manifest = json.loads((STARTER / "manifest.json").read_text())
    (tmp_path / "g" / "manifest.json").write_text(
        json.dumps({**manifest, "engine": "vectors-r-us"})
    )
    with pytest.raises(GalleryError, match=r"engine 'vectors-r-us'.*Update img2loc"):
        Gallery.open(tmp_path / "g")


def test_a_gallery_without_an_engine_in_its_manifest_opens() -> None:
    """As every gallery of version 0.1.0."""
    gallery = Gallery.open(STARTER)
    assert "engine" not in gallery.manifest
    assert len(gallery) == sum(len(part) for part in gallery.index.vectors()) == 123
    vector = next(gallery.index.vectors())[5].astype(np.float32)
    assert gallery.search(vector, 1).nearest[0].id == gallery.metadata.ids()[5]
