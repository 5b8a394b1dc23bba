"""A gallery that was changed on the disk is found out, and one that was not passes."""

import json
from pathlib import Path

import numpy as np
import pytest

from img2loc.core.errors import GalleryError
from img2loc.gallery import verify
from img2loc.gallery.build import pipeline
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.index import pruning
from tests.gallery.test_gallery import ENCODER, Batches, items, vectors
from tests.gallery.test_index_recall import clustered, run, shards


@pytest.fixture(params=["Flat", "SQfp16", "SQ8", "IVF16,SQfp16"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    shards(tmp_path / "g", clustered(2000))
    pipeline.index(tmp_path / "g", ENCODER, request.param, {})
    return tmp_path / "g"


def test_what_was_built_passes(folder: Path) -> None:
    assert list(verify.problems(folder)) == []


def test_one_changed_byte_is_found(folder: Path) -> None:
    content = bytearray((folder / "gallery.faiss").read_bytes())
    content[-5] ^= 1
    (folder / "gallery.faiss").write_bytes(content)
    result = list(verify.problems(folder))
    assert any("gallery.faiss is not the file that was built" in line for line in result)


def test_vectors_and_coordinates_are_looked_at(tmp_path: Path) -> None:
    import pyarrow as pa

    rows = vectors(300)
    Gallery.build(tmp_path, Batches(rows, items(300)), encoder=ENCODER, rows=300, spec="Flat")
    content = bytearray((tmp_path / "gallery.faiss").read_bytes())
    content[-96:] = (rows[-1] * 2).astype("<f4").tobytes()  # the last row of 24 numbers
    (tmp_path / "gallery.faiss").write_bytes(content)
    table = pa.ipc.open_file(tmp_path / "rows.arrow").read_all()
    lat = np.array(table["lat"])
    lat[7] = 91.0
    ids = [*table["id"].to_pylist()[:-1], "id0"]
    table = table.set_column(1, "lat", pa.array(lat)).set_column(0, "id", pa.array(ids))
    with pa.ipc.new_file(str(tmp_path / "rows.arrow"), table.schema) as file:
        file.write_table(table)
    result = "\n".join(verify.problems(tmp_path))
    assert "no checksums" in result
    assert "1 vectors are not of unit length" in result
    assert "1 rows are not on Earth, the first in row 7" in result
    assert "1 rows have the id of another row" in result


def test_a_vector_that_is_no_number_is_found(tmp_path: Path) -> None:
    rows = vectors(300)
    Gallery.build(tmp_path, Batches(rows, items(300)), encoder=ENCODER, rows=300, spec="Flat")
    content = bytearray((tmp_path / "gallery.faiss").read_bytes())
    content[-96:] = np.full(24, np.nan, "<f4").tobytes()
    (tmp_path / "gallery.faiss").write_bytes(content)
    assert "1 vectors are not of unit length." in list(verify.problems(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "has no checksums"),
        ({"files": {"gallery.faiss": 1, "rows.arrow": None}}, "is not the file that was built"),
        ({"probes": {"near": 1}}, "its probe counts are {'near': 1}"),
        ({"probes": {"near": 0, "far": 4}}, "its probe counts are"),
        ({"probes": [1, 2]}, "its probe counts are"),
        (
            {"encoder": {"name": "another", "table": {}}},
            "Its embeddings are by toy, and the manifest says another.",
        ),
    ],
)
def test_a_manifest_that_was_changed_is_found(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    folder = tmp_path / "g"
    shards(folder, clustered(500))
    pipeline.index(folder, {**ENCODER, "name": "toy"}, "IVF4,SQfp16", {})
    (folder / "build.json").write_text(json.dumps({"source": "x", "encoder": "toy"}))
    assert list(verify.problems(folder)) == []
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
    assert any(message in line for line in verify.problems(folder))


def test_another_gallerys_pruning_bounds_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bounds would leave out the wrong rows, in silence."""
    monkeypatch.setattr(pruning, "FROM_ROWS", 400)
    for name, rows in (("large", 600), ("same", 500), ("g", 500)):
        shards(tmp_path / name, clustered(rows, seed=rows))
        pipeline.index(tmp_path / name, ENCODER, "SQfp16", {})
    for file in pruning.FILES:
        (tmp_path / "g" / file).write_bytes((tmp_path / "large" / file).read_bytes())
    assert any(
        "its pruning bounds are of 600 rows" in line for line in verify.problems(tmp_path / "g")
    )
    with pytest.raises(GalleryError, match="its pruning bounds are of 600 rows"):
        Gallery.open(tmp_path / "g")
    shards(tmp_path / "flat", clustered(500))
    pipeline.index(tmp_path / "flat", ENCODER, "Flat", {})
    for file in pruning.FILES:
        (tmp_path / "flat" / file).write_bytes((tmp_path / "same" / file).read_bytes())
    assert any(
        "does not belong to this gallery" in line for line in verify.problems(tmp_path / "flat")
    )


def test_what_is_gone_or_of_another_version_is_a_message(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("index", "verify", str(folder)) == 0
    (folder / "rows.arrow").unlink()
    assert run("index", "verify", str(folder)) == 1
    assert "rows.arrow is missing." in capsys.readouterr().err
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 9}))
    assert [line for line in verify.problems(folder) if "format 9" in line]
