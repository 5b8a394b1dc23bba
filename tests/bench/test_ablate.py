"""The ablation: every variant an ordinary run over the same photographs, which are encoded once."""

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from img2loc.bench.datasets.benchmark import find
from img2loc.bench.runs.ablate import Ablation, CachingEncoder, Variant, questions, variants
from img2loc.bench.runs.run_folder import Run, writing
from img2loc.bench.runs.session import Session, prepare
from img2loc.config.config import Config
from img2loc.core.protocols import views_of
from img2loc.core.types import Embedding, Item, Location, Neighbours, Photo, Rejected
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.metadata import table_of
from img2loc.gallery.neighbours import Retriever
from tests.bench_toys import benchmark
from tests.conftest import Cli, MakePhoto
from tests.server import ChatServer
from tests.toys import PixelEncoder

Bench = Callable[..., tuple[int, str]]
ENDS = (
    *("random", "farthest", "nearest", "nearest-farthest"),
    *("nearest-places", "nearest-farthest-places"),
)


@pytest.fixture
def cli(run: Cli) -> Bench:
    """Run a command; its exit code and what it wrote to stderr."""
    return lambda *words: run(*words)[::2]


def test_each_variant_is_a_run_of_its_own(
    cli: Bench, tmp_path: Path, chat: ChatServer, make_photo: MakePhoto
) -> None:
    config = tmp_path / "toy.toml"
    config.write_text('[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n')
    rows = "".join(
        f"{make_photo(f'gallery/{n}.jpg', n).name},{n},{n}\n" for n in range(24)
    )  # Room for 8 + 8 of which none is in both, and for excluded rows.
    (tmp_path / "gallery" / "all.csv").write_text(f"file,lat,lon\n{rows}")
    cli(
        "index",
        "build",
        tmp_path / "gallery/all.csv",
        "--out",
        tmp_path / "g",
        "--encoder",
        "toy",
        "--config",
        config,
    )
    command: tuple[object, ...]
    command = (
        "bench",
        "ablate",
        benchmark(tmp_path / "b", 3),
        "--gallery",
        tmp_path / "g",
        "--config",
        config,
        "--out",
        "A",
    )
    command += ("-k", "4,8")
    code, err = cli(*command)
    assert code == 1
    assert "14 runs of 3 photos each" in err
    assert "39 photos, in 14 runs, go to the LMM" in err  # One needs no LMM.
    assert chat.requests == []
    code, err = cli(*command, "--yes")
    assert code == 0, err
    names = ["none", "1-nn", *(f"{ends}-{k}" for ends in ENDS for k in (4, 8))]
    assert sorted(path.name for path in Path("A").iterdir()) == sorted(names)
    for name in names:
        run = Run.open(Path("A") / name)
        assert len(run.predictions) == 3
        assert len({row.id for row in run.truth}) == 3
        ends, _, count = name.rpartition("-")
        shown = {(len(line["nearest"]), len(line["farthest"])) for line in run.predictions.values()}
        if ends in ENDS:
            near = int(count) if ends.startswith(("nearest", "random")) else 0
            assert shown == {(near, int(count) if "farthest" in ends else 0)}
    asked = len(chat.requests)
    assert asked == 3 * (len(names) - 1)
    assert cli(*command, "--yes")[0] == 0
    assert len(chat.requests) == asked


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Config, Session]:
    """A session over three photographs, whose LMM has a price and is never asked."""
    path = tmp_path / "toy.toml"
    path.write_text(
        '[lmm.told]\nkind = "openai"\nmodel = "m"\n[price.m]\ninput = 1.0\noutput = 2.0\n'
    )
    return Config.load(path), prepare(find(str(benchmark(tmp_path / "b", 3))), max_usd=1.0)


def test_the_question_is_about_all_runs_together(
    toy: tuple[Config, Session], tmp_path: Path
) -> None:
    config, session = toy
    rows = [
        Variant("few", {"kind": "zeroshot", "lmm": "told"}),
        Variant("more", {"kind": "zeroshot", "lmm": "told"}),
    ]
    long = tmp_path / "long.txt"
    long.write_text("word " * 1000)
    rows[1].table["prompt"] = str(long)
    alone = [Ablation(config, session, [row], tmp_path / "A").cost_estimate() for row in rows]
    both = Ablation(config, session, rows, tmp_path / "A").cost_estimate()
    assert alone[0] is not None and alone[1] is not None and both is not None
    assert alone[1].total.input_tokens > 2 * alone[0].total.input_tokens
    assert both.photos == 6
    assert both.total.cost_usd == pytest.approx(
        (alone[0].total.cost_usd or 0) + (alone[1].total.cost_usd or 0)
    )


def test_the_budget_is_for_all_runs_together(
    toy: tuple[Config, Session], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, session = toy
    rows = [Variant(name, {"kind": "zeroshot", "lmm": "told"}) for name in ("a", "b", "c")]
    for name, spent in (("a", 0.25), ("b", 0.5)):
        with writing(tmp_path / name, {}, session.truths) as run:
            run.append({"id": "100.jpg", "status": "failed", "cost_usd": spent})
    budgets: list[float | None] = []
    monkeypatch.setattr(Session, "run", lambda self, *words, **more: budgets.append(self.max_usd))
    ablation = Ablation(config, session, rows, tmp_path)
    for row, repeat, folder in ablation.runs:
        ablation.run(row, repeat, folder)
    assert budgets == [0.5, 0.75, 0.25]


def test_the_rows_of_the_table() -> None:
    rows = {row.name: row.table for row in variants("g", "gpt", (16,), places=False)}
    ends = ["random-16", "farthest-16", "nearest-16", "nearest-farthest-16"]
    assert list(rows) == ["none", "1-nn", *ends]
    assert [(rows[name]["nearest"], rows[name]["farthest"]) for name in ends] == [
        *((16, 0), (0, 16), (16, 0), (16, 16))
    ]
    assert "lmm" not in rows["1-nn"]
    assert json.dumps(rows)  # They go into run.json.


def test_every_pair_that_is_compared_is_of_two_rows() -> None:
    for places in (True, False):
        names = [row.name for row in variants("g", "gpt", (4, 16), places)]
        pairs = questions((4, 16), places)
        assert {name for pair in pairs for name in pair} == set(names)
        assert len(set(pairs)) == len(pairs) == (17 if places else 11)
        assert ("nearest-4", "nearest-farthest-4") in pairs


class Counting(PixelEncoder):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for photo in photos:
            self.seen.append(photo.path.name)
            yield from super().encode([photo])


def test_photographs_are_encoded_once(toy_photos: list[Path]) -> None:
    inner = Counting()
    encoder = CachingEncoder(inner)
    photos = [Photo(path) for path in toy_photos]
    plain = list(PixelEncoder().encode(photos))
    for some in (photos[:5], photos[3:], photos):
        for got, wanted in zip(encoder.encode(some), plain[photos.index(some[0]) :], strict=False):
            assert np.array_equal(got, wanted)  # type: ignore[arg-type]
    assert set(inner.seen) == {path.name for path in toy_photos}
    first = len(inner.seen)
    assert sum(1 for _ in encoder.encode(photos)) == len(photos)
    assert len(inner.seen) == first


class Trained(PixelEncoder):
    scale = 14.0
    views = "ten-crop"
    location_name = "location/108d"


def test_what_an_encoder_offers_besides_is_kept(toy_photos: list[Path], tmp_path: Path) -> None:
    """Over a gallery of points, neighbours have the same probabilities as without an ablation."""
    (vector,) = PixelEncoder().encode([Photo(toy_photos[0])])
    assert not isinstance(vector, Rejected)
    stamp = {"name": Trained.location_name, "alias": "toy", "table": {}}
    rows = table_of([Item("0", Location(1, 2))])
    points = Gallery.build(
        tmp_path / "p", [(vector[None], rows)], encoder=stamp, rows=1, about={"of": "points"}
    )
    remembering = CachingEncoder(Trained())
    ((_, found),) = Retriever(remembering, points).neighbours([Photo(toy_photos[1])], 1)
    assert isinstance(found, Neighbours)
    assert found.nearest[0].probability == 1.0
    assert views_of(remembering) == "ten-crop"
