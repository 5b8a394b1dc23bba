"""Unit vectors → coordinates in a FAISS index: build, open, and search both ends exactly.

A gallery is a folder: `gallery.faiss` (vectors), `rows.arrow` (id, lat, lon, label, author, licence; row i is vector i)
and `manifest.json` (what made it), which is written last: where it exists, the gallery is whole.
"""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from img2loc.errors import GalleryError, WrongEncoder, first_line
from img2loc.manifest import FORMAT, MANIFEST, read_manifest, write_json
from img2loc.types import Embeddings, Item, Location, Neighbour, Photo

Exclusions = Callable[[Photo], tuple[Collection[str], Collection[str]]]
"""The ids of the rows, and the authors, that a photograph must not see among its neighbours."""
VECTORS, ROWS = "gallery.faiss", "rows.arrow"
FLAT_LIMIT = 100_000
"""Rows up to which the automatic spec keeps single precision; beyond, half precision halves memory and time."""

_MARGIN = 16  # Candidates fetched beyond k, so that near-ties at the cut are settled by the exact score.
_ROUNDING = 1e-5  # Largest difference seen between FAISS's single-precision score and the exact one.
_TRAINING_ROWS = 262_144
# Transforms (PCA, OPQ) shift vectors, so that the negated query is no longer the farthest; PQ loses the far end.
_SERVES_BOTH_ENDS = re.compile(r"(?:IVF[1-9]\d{0,6}(?:_HNSW\d+)?,)?(?:Flat|SQfp16|SQbf16|SQ8|SQ6|SQ4)")


class Gallery:
    """An opened gallery. Vectors and rows are memory-mapped; a search touches what it reads."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any], index: Any, rows: Any) -> None:
        self.folder = folder
        self.manifest = manifest
        self.exclusions: Exclusions | None = None
        self._index = index
        self._rows = rows

    def __len__(self) -> int:
        """Rows."""
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """Length of its vectors."""
        return int(self._index.d)

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
        batches: Iterable[tuple[Embeddings, Sequence[Item]]],
        *,
        encoder: Mapping[str, Any],
        rows: int,
        spec: str = "auto",
        about: Mapping[str, Any] | None = None,
    ) -> Self:
        """Write a gallery from batches of unit rows and their items, then open it.

        `encoder` is {"name", "alias", "table"}: its name, and the configuration that makes it again. `rows` is how many
        there will be. `spec` is a FAISS factory string. A spec that needs training reads the batches twice, so they must
        be iterable again. Raises GalleryError for a graph index, rows that are not unit length, or no rows at all.
        """
        import faiss
        import pyarrow as pa

        spec = resolve_spec(spec, rows)
        index, columns = None, [pa.field(name, kind) for name, kind in _schema(pa)]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        schema = pa.schema(columns)
        with pa.OSFile(str(folder / ROWS), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for vectors, items in batches:
                _check_unit(vectors, len(items))
                if index is None:
                    index = _new_index(spec, vectors.shape[1])
                    if not index.is_trained:
                        _train(index, spec, _training_sample(batches, rows))
                index.add(np.ascontiguousarray(vectors, dtype=np.float32))
                writer.write(_record_batch(pa, schema, items))
        if index is None:
            raise GalleryError(
                f"There is not one usable photograph for the gallery {folder}. See skipped.csv there, mend it, delete the folder "
                "and build again."
            )
        faiss.write_index(index, str(folder / VECTORS))
        manifest = {
            "format": FORMAT,
            "rows": int(index.ntotal),
            "dim": int(index.d),
            "spec": spec,
            "encoder": dict(encoder),
            **(about or {}),
        }
        write_json(folder / MANIFEST, manifest)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a gallery, memory-mapped. Raises GalleryError where there is none, or not a whole one."""
        import faiss
        import pyarrow as pa

        manifest = read_manifest(folder)
        try:
            index = faiss.read_index(str(folder / VECTORS), faiss.IO_FLAG_MMAP_IFC)
            rows = pa.ipc.open_file(pa.memory_map(str(folder / ROWS))).read_all()
        except (RuntimeError, OSError, pa.ArrowInvalid) as error:
            raise GalleryError(f"The gallery {folder} is damaged ({first_line(error)}). Build it again.") from error
        if not index.ntotal == rows.num_rows == manifest["rows"]:
            raise GalleryError(
                f"The gallery {folder} is damaged: {index.ntotal} vectors, {rows.num_rows} rows, "
                f"{manifest['rows']} in the manifest. Build it again."
            )
        _refuse_graphs(type(faiss.downcast_index(index)).__name__)
        if isinstance(inverted := faiss.downcast_index(index), faiss.IndexIVF):
            # A probe count that serves the near end misses half of the far end, so all lists are read.
            inverted.nprobe = inverted.nlist
        return cls(folder, manifest, index, rows)

    def require(self, encoder_name: str) -> None:
        """Raise WrongEncoder unless this encoder built the gallery."""
        if encoder_name != self.encoder_name:
            alias = self.manifest["encoder"].get("alias")
            known = f" ([encoder.{alias}])" if alias else ""
            raise WrongEncoder(
                f"The gallery {self.folder} was built by the encoder {self.encoder_name!r}{known}, and the query comes from "
                f"{encoder_name!r}: their vectors do not compare. Use that encoder, or build a gallery with this one."
            )

    def nearest(
        self,
        queries: Embeddings,
        k: int,
        *,
        exclude_ids: Collection[str] = (),
        exclude_authors: Collection[str] = (),
    ) -> list[list[Neighbour]]:
        """The k most similar rows for each query row (shape (n, dim), unit length), most similar first.

        Equal similarities are ordered by row. Fewer than k come back when there are fewer.
        """
        return self._search(queries, k, 1.0, self._excluded(exclude_ids, exclude_authors))

    def farthest(
        self,
        queries: Embeddings,
        k: int,
        *,
        exclude_ids: Collection[str] = (),
        exclude_authors: Collection[str] = (),
    ) -> list[list[Neighbour]]:
        """The k least similar rows for each query row, least similar first.

        They are the nearest rows of the negated query, which is exact for inner products (Img2Loc, SIGIR 2024).
        """
        return self._search(queries, k, -1.0, self._excluded(exclude_ids, exclude_authors))

    def _search(self, queries: Embeddings, k: int, sign: float, excluded: Any) -> list[list[Neighbour]]:
        if k < 0:
            raise GalleryError(f"k is {k}; ask for 0 neighbours or more.")
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise WrongEncoder(
                f"The gallery {self.folder} holds vectors of {self.dim} by {self.encoder_name!r}; "
                f"the query has shape {queries.shape}. Use the encoder that built it."
            )
        _check_unit(queries, len(queries))
        return [self._one(sign * query.astype(np.float32), k, sign, excluded) for query in queries]

    def _one(self, query: Embeddings, k: int, sign: float, excluded: Any) -> list[Neighbour]:
        import faiss

        available = len(self) - len(excluded)
        k = min(k, available)
        if k == 0:
            return []
        selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(excluded)) if len(excluded) else None
        index: Any = faiss.downcast_index(self._index)
        inverted = isinstance(index, faiss.IndexIVF)
        make: Any = faiss.SearchParametersIVF if inverted else faiss.SearchParameters
        options = {"nprobe": index.nprobe} if inverted else {}
        params = make(sel=selector, **options) if selector is not None else make(**options)
        fetch = min(k + _MARGIN, available)
        scores, found = index.search(query[None], fetch, params=params)
        scores, candidates = scores[0][found[0] >= 0], found[0][found[0] >= 0]
        if not inverted:  # An inverted file approximates anyway, and cannot give its vectors back cheaply.
            if fetch < available and scores[-1] >= scores[k - 1] - _ROUNDING:
                limits, _, tied = index.range_search(query[None], float(scores[k - 1]) - _ROUNDING, params=params)
                candidates = tied[: limits[1]]
            vectors = index.reconstruct_batch(candidates).astype(np.float64)
            # Row by row, so that equal vectors get equal scores wherever they stand (a BLAS product does not promise it).
            scores = (vectors * query.astype(np.float64)).sum(axis=1)
        order = np.lexsort((candidates, -scores))[:k]
        return [self._neighbour(int(candidates[i]), sign * float(scores[i])) for i in order]

    def _neighbour(self, row: int, similarity: float) -> Neighbour:
        identity, lat, lon, label = (self._rows[name][row].as_py() for name in ("id", "lat", "lon", "label"))
        return Neighbour(Location(lat, lon), round(max(-1.0, min(1.0, similarity)), 6), identity, label)

    def _excluded(self, ids: Collection[str], authors: Collection[str]) -> Any:
        if not ids and not authors:
            return np.empty(0, dtype=np.int64)
        import pyarrow as pa
        import pyarrow.compute as pc

        by_id = pc.is_in(self._rows["id"], pa.array(list(ids), pa.string()))
        by_author = pc.is_in(self._rows["author"], pa.array([name for name in authors if name], pa.string()))
        return np.flatnonzero(pc.or_(by_id, by_author).to_numpy()).astype(np.int64)


def resolve_spec(spec: str, rows: int) -> str:
    """The FAISS factory string that "auto" stands for, or the given one. Raises GalleryError for what cannot serve both ends."""
    if spec == "auto":
        return "Flat" if rows <= FLAT_LIMIT else "SQfp16"
    _refuse_graphs(spec)
    if not _SERVES_BOTH_ENDS.fullmatch(spec):
        raise GalleryError(
            f"The index {spec!r} is not known to find both the nearest and the farthest. Choose Flat, SQfp16, SQ8, or an "
            "inverted file over them, such as IVF4096,SQfp16."
        )
    return spec


def _refuse_graphs(name: str) -> None:
    # "IVF4096_HNSW32" only chooses lists by a graph, which is fine: every list is read.
    if re.search(r"(^|,|Index)(HNSW|NSG|NNDescent)", name):
        raise GalleryError(
            f"{name!r} is a graph index: it finds the nearest but only one to three in ten of the farthest (measured). "
            "Choose Flat, SQfp16, SQ8 or an inverted file such as IVF4096,SQfp16."
        )


def _new_index(spec: str, dim: int) -> Any:
    import faiss

    try:
        return faiss.index_factory(dim, spec, faiss.METRIC_INNER_PRODUCT)
    except RuntimeError as error:
        raise GalleryError(f"FAISS does not know the index {spec!r} ({first_line(error)}). Try Flat or SQfp16.") from error


def _train(index: Any, spec: str, sample: Embeddings) -> None:
    try:
        index.train(sample)
    except RuntimeError as error:
        raise GalleryError(
            f"{len(sample)} rows are too few to train the index {spec!r} ({first_line(error)}). Choose Flat."
        ) from error


def _training_sample(batches: Iterable[tuple[Embeddings, Sequence[Item]]], rows: int) -> Embeddings:
    if iter(batches) is batches:
        raise GalleryError("This index must be trained before rows are added: pass batches that can be iterated twice.")
    share = min(1.0, _TRAINING_ROWS / max(rows, 1))
    random = np.random.default_rng(0)
    return np.concatenate([vectors[random.random(len(vectors)) < share] for vectors, _ in batches])


def _schema(pa: Any) -> list[tuple[str, Any]]:
    text, number = pa.string(), pa.float64()
    return [("id", text), ("lat", number), ("lon", number), ("label", text), ("author", text), ("licence", text)]


def _record_batch(pa: Any, schema: Any, items: Sequence[Item]) -> Any:
    rows = [(i.id, i.location.lat, i.location.lon, i.label, i.author, i.licence) for i in items]
    return pa.record_batch([list(column) for column in zip(*rows, strict=True)], schema=schema)


def _check_unit(vectors: Embeddings, items: int) -> None:
    if len(vectors) != items:
        raise GalleryError(f"{len(vectors)} vectors came with {items} items; each needs one of the other.")
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
    if not np.all(np.abs(lengths - 1) < 1e-3):
        worst = lengths[np.argmax(np.abs(lengths - 1))] if np.isfinite(lengths).all() else float("nan")
        raise GalleryError(f"A vector has length {worst:.4g}; a gallery takes unit vectors only. Divide by the norm first.")
