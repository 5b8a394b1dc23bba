"""Unit vectors → coordinates in a FAISS index: build, open, and search both ends exactly.

A gallery is a folder: `gallery.faiss` (vectors), `rows.arrow` (id, lat, lon, label and so on; row i is vector i)
and `manifest.json` (what made it), which is written last: where it exists, the gallery is whole.
"""

import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from img2loc.ends import End, Ends, Lists, Matrix, Scalars
from img2loc.errors import GalleryError, WrongEncoder, first_line
from img2loc.inverted import MEANS
from img2loc.manifest import FORMAT, MANIFEST, made_from, read_manifest, write_json
from img2loc.rows import ROWS, Rows
from img2loc.sketch import Sketch
from img2loc.types import Embedding, Embeddings, Neighbour, Neighbours, Photo
from img2loc.vectors import LENGTH, matrix_of, products, read_index, refuse_graphs, resolve_spec, stored
from img2loc.writing import FILES, VECTORS, Batches, write

Exclusions = Callable[[Photo], tuple[Collection[str], Collection[str]]]
"""The ids of the rows, and the authors, that a photograph must not see among its neighbours."""

_DRAFTS = "new"
"""Where the files of a gallery are until all of them are whole."""


class Gallery:
    """An opened gallery. Vectors and rows are memory-mapped; a search touches what it reads."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], index: Any, rows: Rows, sketch: Sketch | None = None) -> None:
        self.folder = folder
        self.manifest = manifest
        import faiss

        self.exclusions: Exclusions | None = None
        self._file = index  # FAISS frees the memory of an index when this goes, whoever still looks at it.
        self._index: Any = faiss.downcast_index(index)
        self._rows = rows
        self._matrix = matrix_of(self._index)
        self._ends: Ends
        if self._matrix is not None:
            self._ends = Matrix(self._matrix, sketch)
        elif isinstance(self._index, faiss.IndexIVF):
            self._ends = Lists(self._index, np.load(folder / MEANS), manifest.get("probes"))
        else:
            self._ends = Scalars(self._index)

    def __len__(self) -> int:
        """Rows."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self._index.d)

    @property
    def of(self) -> str:
        """What its vectors were made from: "photos", "points" (by a location tower) or "texts" (by a text tower)."""
        return made_from(self.manifest)

    @property
    def encoder_name(self) -> str:
        """The name of the encoder that built it; only its queries make sense here."""
        return str(self.manifest["encoder"]["name"])

    @property
    def countries(self) -> dict[str, int]:
        """Rows per ISO country code, most first; places over 100 km from any town count as "??"."""
        return dict(self.manifest.get("countries", {}))

    @classmethod
    def build(
        cls,
        folder: Path,
        batches: Batches,
        *,
        encoder: Mapping[str, Any],
        rows: int,
        spec: str = "auto",
        about: Mapping[str, Any] | None = None,
        facts: Callable[[Self], Mapping[str, Any]] = lambda gallery: {},
    ) -> Self:
        """Write a gallery from batches of unit rows, each with its table (`rows.table_of`), then open it.

        One that is in the folder already can be searched until this one is whole.

        `encoder` is {"name", "alias", "table"}: its name, and the configuration that makes it again. `rows` is how many
        there will be. `spec` is a FAISS factory string. A spec that needs training reads the batches twice, so they must
        be iterable again. `facts` says what else to note in the manifest, once the gallery can be searched.
        Raises GalleryError for a graph index, rows that are not unit length, or no rows at all.
        """
        spec = resolve_spec(spec, rows)
        drafts = folder / _DRAFTS
        shutil.rmtree(drafts, ignore_errors=True)
        drafts.mkdir(parents=True)
        told = dict(about or {})
        try:
            # A sketch passes over rows, and the probabilities of points and texts come from every one.
            count, dim = write(drafts, batches, rows, spec, sketched=made_from(told) == "photos")
            manifest = {"format": FORMAT, "rows": count, "dim": dim, "spec": spec, "encoder": dict(encoder), **told}
            manifest |= facts(cls._of(drafts, manifest))
            write_json(drafts / MANIFEST, manifest)
            (folder / MANIFEST).unlink(missing_ok=True)
            for name in (*FILES, MANIFEST):
                if (drafts / name).exists():
                    (drafts / name).replace(folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(drafts, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a gallery, memory-mapped. Raises GalleryError where there is none, or not a whole one."""
        return cls._of(folder, read_manifest(folder))

    @classmethod
    def _of(cls, folder: Path, manifest: Mapping[str, Any]) -> Self:
        import faiss
        from pyarrow import ArrowInvalid

        try:
            index = read_index(folder / VECTORS, str(manifest.get("spec")))
            rows = Rows(folder / ROWS)
            sketch = Sketch.of(folder)
        except (RuntimeError, OSError, ValueError, KeyError, BadZipFile, ArrowInvalid) as error:
            raise GalleryError(f"The gallery {folder} is damaged ({first_line(error)}). Build it again.") from error
        if not index.ntotal == len(rows) == manifest["rows"]:
            raise GalleryError(
                f"The gallery {folder} is damaged: {index.ntotal} vectors, {len(rows)} rows, "
                f"{manifest['rows']} in the manifest. Build it again."
            )
        refuse_graphs(type(faiss.downcast_index(index)).__name__)
        if sketch is not None and len(sketch) != len(rows):
            raise GalleryError(f"The gallery {folder} is damaged: its sketch is of {len(sketch)} rows. Build it again.")
        try:
            return cls(folder, manifest, index, rows, sketch)
        except (OSError, ValueError) as error:
            raise GalleryError(f"The gallery {folder} is damaged ({first_line(error)}). Build it again.") from error

    def require(self, encoder_name: str) -> None:
        """Raise WrongEncoder unless this encoder built the gallery."""
        if encoder_name != self.encoder_name:
            alias = self.manifest["encoder"].get("alias")
            known = f" ([encoder.{alias}])" if alias else ""
            raise WrongEncoder(
                f"The gallery {self.folder} was built by the encoder {self.encoder_name!r}{known}, and the query comes from "
                f"{encoder_name!r}: their vectors do not compare. Use that encoder, or build a gallery with this one."
            )

    def search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int = 0,
        *,
        scale: float | None = None,
        exclude_ids: Collection[str] = (),
        exclude_authors: Collection[str] = (),
    ) -> Neighbours:
        """The most similar and the least similar rows for one query of shape (dim,), each end best first, ties by row.

        The query has unit length; the mean of several unit vectors (views of one photograph) is shorter, and its similarities
        are the views' means. Fewer come back when there are fewer. The farthest are the nearest of the negated query, which is
        exact for inner products (Img2Loc, SIGIR 2024). With `scale`, neighbours get the probability softmax(scale · similarity)
        over all rows that are not excluded (GeoCLIP, NeurIPS 2023); None where the index is no plain matrix (Flat, SQfp16).
        """
        if min(nearest, farthest) < 0:
            raise GalleryError(f"k is {min(nearest, farthest)}; ask for 0 neighbours or more.")
        self._check_queries(query[None])
        excluded = self._rows.matching(exclude_ids, exclude_authors)
        first, last, log_total = self._ends.find(query, nearest, farthest, excluded, scale)
        return Neighbours(*(tuple(self._entries(rows, found, scale, log_total)) for rows, found in (first, last)))

    def nearest(self, queries: Embeddings, k: int, **exclusions: Collection[str]) -> list[list[Neighbour]]:
        """The k most similar rows for each query row, shape (n, dim); keywords as for `search`."""
        self._check_queries(queries)
        return [list(self.search(query, k, **exclusions).nearest) for query in queries]  # type: ignore[arg-type]

    def farthest(self, queries: Embeddings, k: int, **exclusions: Collection[str]) -> list[list[Neighbour]]:
        """The k least similar rows for each query row, shape (n, dim); keywords as for `search`."""
        self._check_queries(queries)
        return [list(self.search(query, 0, k, **exclusions).farthest) for query in queries]  # type: ignore[arg-type]

    @property
    def scores_all(self) -> bool:
        """Whether its index is a plain matrix, so that every row's similarity can be had."""
        return self._matrix is not None

    def similarities(self, queries: Embeddings) -> Embeddings:
        """The similarity of each query row to every row of the gallery, shape (n, rows), float32, in one pass over memory.

        Raises GalleryError where the index is no plain matrix.
        """
        self._check_queries(queries)
        if self._matrix is None:
            raise GalleryError(
                f"The gallery {self.folder} has the index {self.manifest['spec']}, and every row's similarity is wanted. "
                "Build it again with --spec Flat or SQfp16."
            )
        return products(self._matrix, queries)

    def ends(self, query: Embedding, nearest: int, farthest: int, excluded: NDArray[np.int64]) -> tuple[End, End]:
        """Both ends as (row numbers, similarities), less some rows, for one query of shape (dim,)."""
        first, last, _ = self._ends.find(query, nearest, farthest, excluded, None)
        return first, last

    @property
    def inverted(self) -> Lists | None:
        """The lists of an inverted file; None for other indexes."""
        return self._ends if isinstance(self._ends, Lists) else None

    def probe(self, probes: Mapping[str, float] | None) -> None:
        """Read so many lists of an inverted file from now on, as `Lists` says; every list without it."""
        if self.inverted:
            self._ends = Lists(self._index, np.load(self.folder / MEANS), probes)

    def vectors(self) -> Iterator[NDArray[np.generic]]:
        """Every stored vector, in batches of shape (n, dim), in no order that means anything."""
        return stored(self._index)

    def ids(self) -> list[str]:
        """Every row's id."""
        return self._rows.ids()

    def repeated_ids(self) -> int:
        """Rows that have the id of an earlier row."""
        return self._rows.repeated_ids()

    def locations(self) -> NDArray[np.float64]:
        """Every row's (lat, lon) in degrees, shape (rows, 2)."""
        return self._rows.locations()

    def entry(self, row: int, similarity: float, probability: float | None = None) -> Neighbour:
        """A row as the neighbour of a query."""
        identity, location, label = self._rows[row]
        rounded = round(max(-1.0, min(1.0, similarity)), 6)
        return Neighbour(location, rounded, identity, label, None if probability is None else float(f"{probability:.7g}"))

    def _check_queries(self, queries: Embeddings) -> None:
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise WrongEncoder(
                f"The gallery {self.folder} holds vectors of {self.dim} by {self.encoder_name!r}; "
                f"the query has shape {queries.shape}. Use the encoder that built it."
            )
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        if not np.all((lengths > 0) & (lengths < 1 + LENGTH)):
            raise GalleryError(
                f"A query has length {lengths[0] if len(lengths) == 1 else lengths.max():.4g}; it must be a unit vector, or the "
                "mean of unit vectors. Divide by the norm first."
            )

    def _entries(self, rows: Any, scores: Any, scale: float | None, log_total: float | None) -> Iterable[Neighbour]:
        for row, score in zip(rows, scores, strict=True):
            likely = None if scale is None or log_total is None else float(np.exp(scale * score - log_total))
            yield self.entry(int(row), float(score), likely)
