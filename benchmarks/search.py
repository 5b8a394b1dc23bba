"""Nearest and farthest search: ours, the paper's (IndexFlatIP twice), a product, and FAISS's.

Run: python benchmarks/search.py FOLDER [--rows 300000] [--dim 768] [--queries 50] [--json FILE].
FOLDER takes the embeddings and the galleries (about 7 bytes a row and dimension) and is left for
another run, which measures the galleries that are there.

The vectors are those of `synthetic.py`, made from GeoCLIP's location tower; queries are made in the
same way and are in no gallery. "The paper's way" keeps single precision, so where rows × dim × 4
bytes is beyond `--flat-gb` it is measured on as many rows as fit and scaled up, and the table says
so. The half-precision product gives the scores of both sides and no neighbours; it is there where
torch is, and takes turns with ours. Memory is what a new process has resident,
beyond what imports take, after opening and one query.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from clock import batch, instructions, timed
from synthetic import Synthetic

from img2loc.core.errors import GalleryError
from img2loc.core.memory import return_large_blocks
from img2loc.core.types import Embeddings
from img2loc.gallery.build import pipeline
from img2loc.gallery.build.build_folder import begin
from img2loc.gallery.build.embed_parts import embed
from img2loc.gallery.build.shards import Shards
from img2loc.gallery.gallery import Gallery

_K = 16
_STAMP = {"name": "synthetic", "alias": "synthetic", "table": {"kind": "synthetic"}}
_CHILD = """
import sys, time, numpy, faiss, pyarrow.ipc, pyarrow.compute
from pathlib import Path
from img2loc.gallery.gallery import Gallery
memory = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
before, begun = memory(), time.perf_counter()
gallery = Gallery.open(Path(sys.argv[1]))
opened = time.perf_counter() - begun
gallery.search(numpy.load(sys.argv[2])[0], 16, 16)
print(opened, time.perf_counter() - begun, memory() - before)
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Nearest and farthest search: ours and FAISS.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--base", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--flat-gb", type=float, default=2.0)
    parser.add_argument("--lists", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    return_large_blocks()
    shards = options.folder / "shards"
    queries = embedded(shards, options.rows, options.dim, options.base, options.queries)
    lists = options.lists or 2 ** round(np.log2(2 * options.rows**0.5))
    print(f"The processor has {instructions()}.")
    print(
        f"{options.rows:,} × {options.dim}, near and far {_K} of {options.queries} queries; medians"
    )
    print(
        f"{'index':28} {'ms':>9} {'times':>6} {'batch ms':>9} {'near':>7} {'far':>7} {'MB':>7}"
        f" {'open s':>7} {'resident MB':>12}"
    )
    results: list[dict[str, Any]] = []
    for one in measured(options.folder, shards, queries, options.rows, lists, options.flat_gb):
        results.append(one)
        one["times"] = round(results[0]["ms"] / one["ms"], 1)
        cells = [one.get(key) for key in ("batch_ms", "near", "far", "mb", "open_s", "resident_mb")]
        shown = ["–" if cell is None else f"{cell:.4g}" for cell in cells]
        print(
            f"{one['index']:28} {one['ms']:9.2f} {one['times']:6.1f} "
            + " ".join(f"{c:>{w}}" for c, w in zip(shown, (9, 7, 7, 7, 7, 12), strict=True))
        )
        if "note" in one:
            print(f"  {one['note']}", flush=True)
    if options.json:
        arguments = {key: str(value) for key, value in vars(options).items()}
        options.json.write_text(json.dumps({"arguments": arguments, "results": results}, indent=1))


def measured(
    folder: Path, shards: Path, queries: Embeddings, rows: int, lists: int, most_gb: float
) -> Iterator[dict[str, Any]]:
    """One line of the table after the other, the paper's way first."""
    truth = brute_force(shards, queries)
    yield flat(shards, queries, rows, most_gb)
    yield ours("exact", "SQfp16", folder, shards, queries, truth)
    if find_spec("torch"):
        yield product(folder / "exact", queries)
    yield ours("inverted", f"IVF{lists},SQfp16", folder, shards, queries, truth)
    yield from theirs(folder / "inverted", shards, queries, truth)


def embedded(shards: Path, rows: int, dim: int, base: int, queries: int) -> Embeddings:
    """Write the embeddings as `index build` does, or go on there; returns the queries."""
    synthetic = Synthetic(rows, dim, base)
    shards.mkdir(parents=True, exist_ok=True)
    begin(shards, {"source": synthetic.fingerprint, "encoder": synthetic.name})
    embed(synthetic, synthetic, shards)
    vectors = synthetic.queries(queries)
    np.save(shards / "queries.npy", vectors)
    return vectors


def stored(shards: Path) -> Iterator[Embeddings]:
    """The rows as a gallery in half precision stores them."""
    for vectors, _ in Shards.of(shards):
        yield vectors.astype(np.float16).astype(np.float32)


def brute_force(shards: Path, queries: Embeddings) -> tuple[Any, Any]:
    """The nearest and the farthest rows of each query, each of shape (queries, k)."""
    start = 0
    parts: tuple[list[Any], list[Any]] = ([], [])
    for part in stored(shards):
        scores = queries @ part.T
        for kept, sign in zip(parts, (-1, 1), strict=True):
            best = np.argpartition(sign * scores, min(_K, len(part) - 1), axis=1)[:, :_K]
            kept.append((best + start, sign * np.take_along_axis(scores, best, axis=1)))
        start += len(part)
    sides = []
    for kept in parts:
        rows, scores = (np.concatenate(block, axis=1) for block in zip(*kept, strict=True))
        sides.append(np.take_along_axis(rows, np.argsort(scores, axis=1)[:, :_K], axis=1))
    return sides[0], sides[1]


def flat(shards: Path, queries: Embeddings, rows: int, most_gb: float) -> dict[str, Any]:
    """The paper's way."""
    import faiss

    dim = queries.shape[1]
    fit = min(rows, int(most_gb * 1e9 / 4 / dim))
    index = faiss.IndexFlatIP(dim)
    for part in stored(shards):
        index.add(part[: fit - index.ntotal])
        if index.ntotal >= fit:
            break

    def search(query: Embeddings) -> None:
        index.search(query, _K)
        index.search(-query, _K)

    share = rows / fit
    result = {"index": "IndexFlatIP, twice", "near": 1.0, "far": 1.0, "mb": rows * dim * 4 / 1e6}
    result |= {"ms": share * timed(queries, search)[0], "batch_ms": share * batch(search, queries)}
    return (
        result
        if fit == rows
        else {**result, "note": f"measured on {fit:,} rows and scaled to {rows:,}"}
    )


def ours(
    name: str, spec: str, folder: Path, shards: Path, queries: Embeddings, truth: tuple[Any, Any]
) -> dict[str, Any]:
    """A gallery, built from the shards by the second half of `index build`."""
    target = folder / name
    target.mkdir(exist_ok=True)
    for kind in ("img_emb", "metadata", "skipped"):
        if not (target / kind).exists():
            (target / kind).symlink_to((shards / kind).resolve())
    try:
        gallery, note = Gallery.open(target), "built before"
    except GalleryError:
        begun = time.perf_counter()
        gallery = pipeline.index(target, _STAMP, spec, {"of": "photos"})
        note = f"indexed in {time.perf_counter() - begun:.0f} s"

    def together(batch: Embeddings) -> Any:
        return gallery.index.search(batch, _K, _K, [np.empty(0, dtype=np.int64)] * len(batch))

    results = together(queries)
    shares = [
        np.mean(
            [
                len({*getattr(result, side).rows} & {*row})
                for result, row in zip(results, rows, strict=True)
            ]
        )
        / _K
        for side, rows in zip(("nearest", "farthest"), truth, strict=True)
    ]

    (ms,) = timed(queries, together)
    command = [sys.executable, "-c", _CHILD, str(target), str(shards / "queries.npy")]
    opened, first, resident = map(
        float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    )
    size = sum(
        path.stat().st_size
        for path in target.iterdir()
        if path.suffix in (".faiss", ".arrow", ".npy", ".npz")
    )
    note += f"; opened and first answer {first:.2f} s"
    if probes := gallery.manifest.get("probes"):
        lists = gallery.manifest["recall"]["lists"]
        note += (
            f"; reads {probes['near']} and {probes['far']} of {lists} lists; own recall"
            f" {gallery.manifest['recall']}"
        )
    result = {
        "index": f"ours, {spec}",
        "ms": ms,
        "batch_ms": batch(together, queries),
        "near": shares[0],
        "far": shares[1],
    }
    return {
        **result,
        "mb": size / 1e6,
        "open_s": opened,
        "resident_mb": resident / 1e6,
        "note": note,
    }


def product(folder: Path, queries: Embeddings) -> dict[str, Any]:
    """A half-precision product of the whole matrix and a query, beside ours."""
    import torch

    gallery = Gallery.open(folder)
    matrix = torch.from_numpy(gallery.index._matrix)  # type: ignore[attr-defined]
    columns = torch.from_numpy(queries).half().T

    def one(query: Embeddings) -> Any:
        return matrix @ torch.from_numpy(query[0]).half()

    none = [np.empty(0, dtype=np.int64)]
    ms, exact = timed(queries, one, lambda query: gallery.index.search(query, _K, _K, none))
    together = batch(lambda _: matrix @ columns, queries)
    note = f"ours meanwhile {exact:.2f} ms: {ms / exact:.1f} times faster"
    return {"index": "fp16 product", "ms": ms, "batch_ms": together, "note": note}


def theirs(
    inverted: Path, shards: Path, queries: Embeddings, truth: tuple[Any, Any]
) -> Iterator[dict[str, Any]]:
    """FAISS's own: scalar quantizers over all rows, and the inverted file with one probe count."""
    import faiss

    for spec in ("SQfp16", "SQ8"):
        index = faiss.index_factory(queries.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
        for part in stored(shards):
            if not index.is_trained:
                index.train(part)
            index.add(part)
        yield preset(f"FAISS {spec}, twice", index, queries, truth)
        del index
    gallery = Gallery.open(inverted)
    lists: Any = gallery.index._index  # type: ignore[attr-defined]
    for probes in (16, 64, 256):
        lists.nprobe = min(probes, lists.nlist)
        yield preset(f"FAISS {gallery.manifest['spec']} @{lists.nprobe}", lists, queries, truth)


def preset(name: str, index: Any, queries: Embeddings, truth: tuple[Any, Any]) -> dict[str, Any]:
    """One FAISS index, searched for the nearest and the farthest."""

    def search(query: Embeddings) -> list[Any]:
        return [index.search(sign * query, _K)[1] for sign in (1, -1)]

    hits = search(queries)
    shares = [
        np.mean([len(set(a) & set(b)) for a, b in zip(hits[side], truth[side], strict=True)]) / _K
        for side in (0, 1)
    ]
    size = index.ntotal * index.code_size / 1e6
    result = {"index": name, "ms": timed(queries, search)[0], "batch_ms": batch(search, queries)}
    return {**result, "near": shares[0], "far": shares[1], "mb": size}


if __name__ == "__main__":
    main()
