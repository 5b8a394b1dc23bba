"""The ablation: every variant an ordinary run over the same photographs, which are encoded once."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from img2loc.bench.ablate import Remembering, variants
from img2loc.bench.runs import Run
from img2loc.gallery import Gallery
from img2loc.types import Embedding, Photo, Rejected
from tests.bench_toys import benchmark
from tests.conftest import Cli, MakePhoto
from tests.server import ChatServer
from tests.toys import PixelEncoder

Bench = Callable[..., tuple[int, str]]


@pytest.fixture
def cli(run: Cli) -> Bench:
    """Run a command; its exit code and what it wrote to stderr."""
    return lambda *words: run(*words)[::2]


def test_each_variant_is_a_run_of_its_own(cli: Bench, tmp_path: Path, chat: ChatServer, make_photo: MakePhoto) -> None:
    config = tmp_path / "toy.toml"
    config.write_text('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    rows = "".join(f"{make_photo(f'gallery/{n}.jpg', n).name},{n},{n}\n" for n in range(9))
    (tmp_path / "gallery" / "all.csv").write_text(f"file,lat,lon\n{rows}")
    cli("index", "build", tmp_path / "gallery/all.csv", "--out", tmp_path / "g", "--encoder", "toy", "--config", config)
    command: tuple[object, ...]
    command = ("bench", "ablate", benchmark(tmp_path / "b", 3), "--gallery", tmp_path / "g", "--config", config, "--out", "A")
    command += ("-k", "4,8")
    code, err = cli(*command)
    assert code == 1
    assert "7 runs of 3 photos each" in err
    assert chat.requests == []
    code, err = cli(*command, "--yes")
    assert code == 0, err
    names = ["none", *(f"{ends}-{k}" for ends in ("nearest", "nearest-farthest", "nearest-farthest-places") for k in (4, 8))]
    assert sorted(path.name for path in Path("A").iterdir()) == sorted(names)
    for name in names:
        run = Run.open(Path("A") / name)
        assert len(run.predictions) == 3
        ends, _, count = name.rpartition("-")
        shown = {(len(line["nearest"]), len(line["farthest"])) for line in run.predictions.values()}
        assert shown == {(int(count or 0) if ends else 0, int(count) if "farthest" in ends else 0)}
        assert len({row.id for row in run.truth}) == 3
    asked = len(chat.requests)
    assert asked == 3 * len(names)
    assert cli(*command, "--yes")[0] == 0
    assert len(chat.requests) == asked


def test_the_rows_of_the_table() -> None:
    rows = {row.name: row.table for row in variants("g", "gpt", (16,), places=False)}
    assert list(rows) == ["none", "nearest-16", "nearest-farthest-16"]
    assert rows["nearest-16"]["farthest"] == 0
    assert json.dumps(rows)  # They go into run.json.


class Counting(PixelEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for photo in photos:
            self.seen.append(photo.path.name)
            yield from super().encode([photo])


def test_photographs_are_encoded_once(gallery: Gallery, toy_photos: list[Path]) -> None:
    inner = Counting()
    encoder = Remembering(gallery, lambda: inner)
    photos = [Photo(path) for path in toy_photos]
    plain = list(PixelEncoder().encode(photos))
    for some in (photos[:5], photos[3:], photos):
        for got, wanted in zip(encoder.encode(some), plain[photos.index(some[0]) :], strict=False):
            assert np.array_equal(got, wanted)  # type: ignore[arg-type]
    assert set(inner.seen) == {path.name for path in toy_photos}
    first = len(inner.seen)
    assert sum(1 for _ in encoder.encode(photos)) == len(photos)
    assert len(inner.seen) == first
