"""An index measures its own recall, and reads as many lists as the recall that is wanted needs."""

import json
import resource
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from img2loc.cli import _run
from img2loc.core.errors import GalleryError
from img2loc.core.types import Embeddings
from img2loc.gallery import index_recall
from img2loc.gallery.build import pipeline
from img2loc.gallery.build.shards import Shards
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from tests.conftest import kill_when
from tests.gallery.test_gallery import ENCODER, brute_force, unit

ROWS, DIM = 6000, 32
ROOT = Path(__file__).resolve().parents[2]


def clustered(rows: int, seed: int = 0) -> Embeddings:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(77).normal(size=(40, DIM)) + 0.5
    return unit(centres[random.integers(0, 40, rows)] + random.normal(scale=0.7, size=(rows, DIM)))


def shards(folder: Path, rows: Embeddings, size: int = 1500) -> None:
    """Embeddings as the costly half leaves them."""
    for kind in ("img_emb", "metadata", "skipped"):
        (folder / kind).mkdir(parents=True)
    for number, start in enumerate(range(0, len(rows), size)):
        part = rows[start : start + size].astype(np.float16)
        count = range(start, start + len(part))
        table = {
            "id": [f"id{n}" for n in count],
            "lat": [n % 100 / 2.0 for n in count],
            "lon": [n % 3000 / 20.0 for n in count],
        }
        texts: dict[str, list[str]] = {
            "label": [""] * len(part),
            "author": [f"a{n % 9}" for n in count],
            "licence": [""] * len(part),
            "source": ["made"] * len(part),
        }
        pq.write_table(
            pa.table({**table, **texts}), folder / "metadata" / f"metadata_{number:05}.parquet"
        )
        (folder / "skipped" / f"skipped_{number:05}.json").write_text("[]")
        np.save(folder / "img_emb" / f"img_emb_{number:05}.npy", part)


def built(folder: Path, spec: str) -> Gallery:
    shards(folder, clustered(ROWS))
    return pipeline.index(folder, ENCODER, spec, {"of": "photos"})


@pytest.fixture(scope="module")
def inverted(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    return built(tmp_path_factory.mktemp("tuned") / "g", "IVF64,SQfp16")


def shares(gallery: Gallery, queries: Embeddings) -> tuple[float, float]:
    rows, near, far = clustered(ROWS), 0, 0
    for query in queries:
        result = gallery.search(query, 16, 16)
        near += len({entry.id for entry in result.nearest} & set(brute_force(rows, query, 16, 1)))
        far += len({entry.id for entry in result.farthest} & set(brute_force(rows, query, 16, -1)))
    return near / 16 / len(queries), far / 16 / len(queries)


def test_probe_counts_give_the_recall_that_was_asked_for(inverted: Gallery) -> None:
    probes, measured = inverted.manifest["probes"], inverted.manifest["recall"]
    assert 1 <= probes["near"] < 64
    assert 1 <= probes["far"] < 64
    assert (measured["near_probes"], measured["far_probes"]) == (probes["near"], probes["far"])
    assert (measured["k"], measured["queries"], measured["lists"]) == (16, 200, 64)
    near, far = shares(inverted, clustered(60, seed=5))  # queries that the measurement never saw
    assert near >= 0.98
    assert far >= 0.93
    assert measured["near"] == pytest.approx(near, abs=0.02)
    assert measured["far"] == pytest.approx(far, abs=0.05)


def test_the_reference_is_brute_force_without_the_row_itself() -> None:
    rows = clustered(500)
    batches = [(part, table_of([])) for part in (rows[:200], rows[200:])]
    truth = index_recall.reference(batches, 500, k=7, queries=20)
    for number, row in enumerate(truth.queries):
        keep = np.arange(500) != row
        for end, sign in ((0, 1), (1, -1)):
            assert [f"id{result}" for result in truth.rows[end][number]] == brute_force(
                rows, rows[row], 7, sign, keep
            )


def test_an_exact_index_finds_all(tmp_path: Path) -> None:
    gallery = built(tmp_path / "g", "SQfp16")
    assert (gallery.manifest["recall"]["near"], gallery.manifest["recall"]["far"]) == (1.0, 1.0)
    assert gallery.manifest["same_coordinates"] == 0.0 + 1.0 * (
        ROWS > 3000
    )  # Coordinates repeat after 3,000 rows.
    with pytest.raises(GalleryError, match="nothing to tune"):
        index_recall.tune(gallery, Shards.of(gallery.folder), 0.9, 0.9)


def test_tuning_by_command_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "g"
    before = built(folder, "IVF64,SQfp16").manifest["probes"]
    assert run("index", "tune", str(folder), "--recall", "0.5", "--far-recall", "0.5") == 0
    low = json.loads(capsys.readouterr().out)
    assert low["near_probes"] <= before["near"]
    assert low["far_probes"] < before["far"]
    assert run("index", "tune", str(folder), "--recall", "1", "--far-recall", "1") == 0
    high = json.loads(capsys.readouterr().out)
    assert (
        min(high["near"], high["far"]) >= 0.999
    )  # Half precision may turn two neighbours at the cut round.
    kept = Gallery.open(folder).manifest["probes"]
    assert (kept["near"], kept["far"]) == (high["near_probes"], high["far_probes"])


def test_more_neighbours_than_a_few_lists_hold(inverted: Gallery) -> None:
    result = inverted.search(clustered(1, seed=8)[0], ROWS + 3, ROWS)
    assert (
        len({entry.id for entry in result.nearest})
        == len({entry.id for entry in result.farthest})
        == ROWS
    )


def test_who_is_excluded_never_appears_in_lists(inverted: Gallery) -> None:
    for query in clustered(10, seed=9):
        result = inverted.search(query, 30, 30, excluded=inverted.metadata.rows_by(["id1"], ["a3"]))
        ids = [int(entry.id.removeprefix("id")) for entry in (*result.nearest, *result.farthest)]
        assert len(ids) == 60
        assert all(row % 9 != 3 and row != 1 for row in ids)


@pytest.mark.parametrize("spec", ["Flat", "SQfp16", "IVF1,SQfp16"])
def test_one_row(tmp_path: Path, spec: str) -> None:
    shards(tmp_path / "g", clustered(1))
    gallery = pipeline.index(tmp_path / "g", ENCODER, spec, {})
    result = gallery.search(clustered(1)[0], 16, 16)
    assert (
        [entry.id for entry in result.nearest] == [entry.id for entry in result.farthest] == ["id0"]
    )


def test_a_shard_that_is_gone_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    shards(folder, clustered(4000))
    kept = (folder / "img_emb" / "img_emb_00001.npy").read_bytes()
    (folder / "img_emb" / "img_emb_00001.npy").unlink()
    with pytest.raises(GalleryError, match=r"img_emb_00001\.npy is missing"):
        pipeline.index(folder, ENCODER, "Flat", {})
    (folder / "img_emb" / "img_emb_00001.npy").write_bytes(kept[:-100])
    with pytest.raises(GalleryError, match=r"img_emb_00001\.npy cannot be read"):
        pipeline.index(folder, ENCODER, "Flat", {})
    (folder / "img_emb" / "img_emb_00001.npy").write_bytes(kept)
    assert len(pipeline.index(folder, ENCODER, "Flat", {})) == 4000


@pytest.mark.parametrize("spec", ["SQfp16", "IVF16,SQfp16", "SQ8"])
def test_a_disk_that_fills_up_loses_no_embedding(tmp_path: Path, spec: str) -> None:
    """A limit on the size of files stands for a full disk: the same failure of the same writes."""
    folder = tmp_path / "g"
    shards(folder, clustered(ROWS))
    before = {path: path.read_bytes() for path in (folder / "img_emb").iterdir()}
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, allowed[1]))
    try:
        with pytest.raises(OSError):  # `build` makes a sentence of it.
            pipeline.index(folder, ENCODER, spec, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert not (folder / "manifest.json").exists()
    assert {path: path.read_bytes() for path in (folder / "img_emb").iterdir()} == before
    assert len(pipeline.index(folder, ENCODER, spec, {})) == ROWS


def test_what_is_there_can_be_searched_until_its_successor_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "g"
    before = built(folder, "Flat").search(clustered(1, seed=4)[0], 5)
    allowed = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, allowed[1]))
    try:
        with pytest.raises(OSError):
            pipeline.index(folder, ENCODER, "IVF16,SQfp16", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, allowed)
    assert Gallery.open(folder).search(clustered(1, seed=4)[0], 5) == before
    assert not (folder / "new").exists()


@pytest.mark.parametrize("spec", ["SQ4", "IVF64,SQ4", "SQ8"])
def test_coarse_codes_claim_no_more_than_they_find(tmp_path: Path, spec: str) -> None:
    gallery = built(tmp_path / "g", spec)
    near, far = shares(gallery, clustered(40, seed=5))
    claimed = gallery.manifest["recall"]
    assert claimed["near"] == pytest.approx(near, abs=0.06)
    assert claimed["far"] == pytest.approx(far, abs=0.06)


def test_a_damaged_list_of_what_was_skipped_is_a_message(tmp_path: Path) -> None:
    shards(tmp_path, clustered(100))
    (tmp_path / "skipped" / "skipped_00000.json").write_text("[{")
    with pytest.raises(GalleryError, match=r"skipped_00000\.json cannot be read"):
        pipeline.index(tmp_path, ENCODER, "Flat", {})


@pytest.mark.parametrize("spec", ["SQfp16", "IVF16,SQfp16"])
def test_sigkill_while_indexing_and_again(tmp_path: Path, spec: str) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for folder in (killed, whole):
        shards(folder, clustered(ROWS))
    script = (
        "import signal, sys; from pathlib import Path; from img2loc.gallery.build import pipeline\n"
        "from img2loc.gallery.index.ivf_writer import InvertedFileWriter\n"
        "from img2loc.gallery.index.faiss_files import FlatWriter\n"
        "def slow(self, rows): Path(sys.argv[1], 'begun').touch(); signal.pause()\n"
        "FlatWriter.add = InvertedFileWriter.add = slow\n"
        f"pipeline.index(Path(sys.argv[1]), {ENCODER}, {spec!r}, {{}})"
    )
    kill_when(lambda: (killed / "begun").exists(), [sys.executable, "-c", script, str(killed)])
    (killed / "begun").unlink()
    assert not (killed / "manifest.json").exists()
    for folder in (killed, whole):
        pipeline.index(folder, ENCODER, spec, {})
    assert files(killed) == files(whole)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["img2loc", *arguments])
        return _run(debug=False)
