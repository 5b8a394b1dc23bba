"""Unit vectors with coordinates: build, open, and find the nearest and the farthest.

A gallery is a folder: `gallery.faiss` (vectors), `rows.arrow` (id, lat, lon, label and so on; row i
is vector i) and `manifest.json` (what made it), which is written last: where it exists, the gallery
is whole.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np

from img2loc.core.errors import GalleryError, WrongEncoder, first_line
from img2loc.core.files import write_json
from img2loc.core.protocols import VectorIndex
from img2loc.core.types import Embedding, Embeddings, Hits, Neighbour, Neighbours, RowNumbers
from img2loc.gallery.index.kernels import UNIT_TOLERANCE
from img2loc.gallery.index.search import NO_ROWS
from img2loc.gallery.index.spec import resolve_spec
from img2loc.gallery.index.writer import FILES, Batches, write
from img2loc.gallery.manifest import CALIBRATION, FORMAT, MANIFEST, made_from, read_manifest
from img2loc.gallery.metadata import ROWS, Metadata
from img2loc.gallery.search_engines import open_index

_DRAFT = "new"
"""Folder of a gallery's files until all of them are whole."""
_DIGITS = 6
_FIRST_WITHIN = 16


class Gallery:
    """An opened gallery: an index of vectors, and the metadata of its rows."""

    def __init__(
        self, folder: Path, manifest: Mapping[str, Any], index: VectorIndex, metadata: Metadata
    ) -> None:
        """Join its parts. Raises GalleryError where they have different numbers of rows."""
        self.folder = folder
        self.manifest = manifest
        self.index = index
        self.metadata = metadata
        if not len(index) == len(metadata) == manifest["rows"]:
            raise GalleryError(
                f"The gallery {folder} is damaged: {len(index)} vectors, {len(metadata)} rows, "
                f"{manifest['rows']} in the manifest. Build it again."
            )

    def __len__(self) -> int:
        """Rows."""
        return len(self.index)

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return self.index.dim

    @property
    def of(self) -> str:
        """What its vectors encode: "photos", or "points" or "texts" (by another tower)."""
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
        """Write a gallery from batches of unit rows and their metadata, then open it.

        One that is in the folder already can be searched until this one is whole.

        `encoder` is {"name", "alias", "table"}: its name, and the configuration that makes it
        again. `rows` is how many there will be. `spec` is a FAISS factory string; one that needs
        training reads the batches twice. `about` goes into the manifest, and so does what `facts`
        returns once the gallery can be searched. Raises GalleryError for a graph index, rows that
        are not unit length, or no rows at all.
        """
        spec = resolve_spec(spec, rows)
        draft = folder / _DRAFT
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        about = dict(about or {})
        try:
            count, dim = write(draft, batches, rows, spec, made_from(about))
            manifest = {"format": FORMAT, "rows": count, "dim": dim, "spec": spec}
            manifest |= {"encoder": dict(encoder), **about}
            manifest |= facts(cls._open(draft, manifest))
            write_json(draft / MANIFEST, manifest)
            for name in (MANIFEST, CALIBRATION):  # It was of the rows that go.
                (folder / name).unlink(missing_ok=True)
            for name in (*FILES, MANIFEST):
                if (draft / name).exists():
                    (draft / name).replace(folder / name)
                else:
                    (folder / name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a gallery, memory-mapped. Raises GalleryError for a missing or damaged one."""
        folder = Path(folder)
        return cls._open(folder, read_manifest(folder))

    @classmethod
    def _open(cls, folder: Path, manifest: Mapping[str, Any]) -> Self:
        from pyarrow import ArrowInvalid

        try:
            index = open_index(folder, manifest)
            metadata = Metadata.open(folder / ROWS, str(manifest.get("source", "")))
        except (RuntimeError, OSError, ValueError, KeyError, BadZipFile, ArrowInvalid) as error:
            raise GalleryError(
                f"The gallery {folder} is damaged ({first_line(error)}). Build it again."
            ) from error
        return cls(folder, manifest, index, metadata)

    def require(self, *encoder_names: str) -> None:
        """Raise WrongEncoder unless the encoder of these names (`names_of`) built the gallery."""
        if self.encoder_name not in encoder_names:
            alias = self.manifest["encoder"].get("alias")
            known = f" ([encoder.{alias}])" if alias else ""
            raise WrongEncoder(
                f"The gallery {self.folder} was built by the encoder {self.encoder_name!r}{known},"
                f" and the query comes from {encoder_names[0]!r}: their vectors do not compare. Use"
                " that encoder, or build a gallery with this one."
            )

    def search(
        self,
        query: Embedding,
        nearest: int,
        farthest: int = 0,
        *,
        scale: float | None = None,
        excluded: RowNumbers | Sequence[int] = (),
    ) -> Neighbours:
        """The rows most and least similar to a query, shape (dim,); best first, ties by row.

        The query has unit length; the mean of several unit vectors (views of one photograph) is
        shorter, and its similarities are the views' means. A small gallery gives fewer rows. The
        farthest are the nearest of the negated query, which is exact for inner products (Img2Loc,
        SIGIR 2024). With `scale`, neighbours get the probability softmax(scale · similarity) over
        all rows that are not excluded (GeoCLIP, NeurIPS 2023); None where the index is not exact.
        `excluded` are row numbers, as `metadata.rows_by` returns them.
        """
        if min(nearest, farthest) < 0:
            raise GalleryError(f"k is {min(nearest, farthest)}; ask for 0 neighbours or more.")
        self._check_queries(query[None])
        # np.unique imports numpy.ma, which takes as long as a search.
        rows = np.array(sorted(set(np.asarray(excluded, dtype=np.int64).tolist())), dtype=np.int64)
        (result,) = self.index.search(query[None], nearest, farthest, [rows], scale)
        return Neighbours(
            tuple(self._neighbours(result.nearest, scale, result.log_sum_exp)),
            tuple(self._neighbours(result.farthest, scale, result.log_sum_exp)),
        )

    def rows_within(self, query: Embedding, similarity: float) -> RowNumbers:
        """Every row at least so similar to a query, shape (dim,), as far as the index finds it."""
        self._check_queries(query[None])
        count = _FIRST_WITHIN
        while True:
            hits = self.index.search(query[None], count, 0, [NO_ROWS])[0].nearest
            # Rounded as `entry` does, so that no neighbour is shown as of this similarity.
            within = np.round(hits.similarities, _DIGITS) >= similarity
            if not within.all() or len(within) < count:
                return hits.rows[within]
            if self.index.exact:  # One pass over all rows, where they may be many.
                scores = np.round(self.index.similarities(query[None])[0], _DIGITS)
                return np.flatnonzero(scores >= similarity).astype(np.int64)
            count *= 2

    def similarities(self, queries: Embeddings) -> Embeddings:
        """The similarity of each query row to every row of the gallery, shape (n, rows), float32.

        Raises GalleryError where the index is not exact.
        """
        self._check_queries(queries)
        self.require_exact()
        return self.index.similarities(queries)

    def require_exact(self) -> None:
        """Raise GalleryError unless every row's similarity can be had."""
        if not self.index.exact:
            raise GalleryError(
                f"The gallery {self.folder} has the index {self.manifest['spec']}, and every row's"
                " similarity is wanted. Build it again with --spec Flat or SQfp16."
            )

    def entry(self, row: int, similarity: float, probability: float | None = None) -> Neighbour:
        """A row as the neighbour of a query."""
        identity, location, label = self.metadata[row]
        similarity = round(max(-1.0, min(1.0, similarity)), _DIGITS)
        probability = None if probability is None else float(f"{probability:.7g}")
        return Neighbour(location, similarity, identity, label, probability)

    def _check_queries(self, queries: Embeddings) -> None:
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise WrongEncoder(
                f"The gallery {self.folder} holds vectors of {self.dim} by {self.encoder_name!r}; "
                f"the query has shape {queries.shape}. Use the encoder that built it."
            )
        lengths = np.linalg.norm(queries.astype(np.float64), axis=1)
        usable = (lengths > 0) & (lengths < 1 + UNIT_TOLERANCE)
        if not usable.all():
            raise GalleryError(
                f"A query has length {lengths[~usable][0]:.4g}; it must be a unit vector, or the"
                " mean of unit vectors. Divide by the norm first."
            )

    def _neighbours(
        self, hits: Hits, scale: float | None, log_sum_exp: float | None
    ) -> Iterator[Neighbour]:
        for row, similarity in zip(*hits, strict=True):
            known = scale is not None and log_sum_exp is not None
            probability = float(np.exp(scale * similarity - log_sum_exp)) if known else None
            yield self.entry(int(row), float(similarity), probability)
