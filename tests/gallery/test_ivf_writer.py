"""An inverted file written in bounded memory is FAISS's own, and is opened memory-mapped."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from img2loc.gallery.gallery import Gallery
from tests.gallery.test_gallery import build, vectors


@pytest.mark.parametrize("spec", ["IVF16,SQfp16", "IVF16,Flat", "IVF16,SQ8"])
@pytest.mark.parametrize("rows", [3000, 700])
def test_it_is_the_file_that_faiss_writes(tmp_path: Path, spec: str, rows: int) -> None:
    import faiss

    made = vectors(rows)
    opened: Any = build(tmp_path / "g", made, spec).index
    index: Any = faiss.index_factory(24, spec, faiss.METRIC_INNER_PRODUCT)
    index.quantizer.add(
        opened._index.quantizer.reconstruct_n(0, 16)
    )  # FAISS takes given centroids.
    index.train(made)
    index.add(made)
    faiss.write_index(index, str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "g" / "gallery.faiss").read_bytes() == (
        tmp_path / "theirs.faiss"
    ).read_bytes()
    assert not list((tmp_path / "g").glob("*.tmp"))


def test_sizes_of_mostly_empty_lists_are_written_as_faiss_writes_them(tmp_path: Path) -> None:
    import faiss

    from img2loc.gallery.index.ivf_writer import InvertedFileWriter

    made = vectors(2000)
    index = faiss.index_factory(24, "IVF32,SQfp16", faiss.METRIC_INNER_PRODUCT)
    index.train(made)
    file = InvertedFileWriter(tmp_path / "ours.faiss", index, ExitStack())
    file.add(made[:1])
    file.add(made[1:3])
    file.close()
    index.add(made[:3])
    faiss.write_index(index, str(tmp_path / "theirs.faiss"))
    assert (tmp_path / "ours.faiss").read_bytes() == (tmp_path / "theirs.faiss").read_bytes()


def test_its_lists_stay_on_the_disk(tmp_path: Path) -> None:
    import faiss

    build(tmp_path / "g", vectors(2000), "IVF16,SQfp16")
    opened: Any = Gallery.open(tmp_path / "g").index
    lists = faiss.downcast_InvertedLists(opened._index.invlists)
    assert isinstance(lists, faiss.OnDiskInvertedLists)
    assert lists.prefetch_nthread == 0
