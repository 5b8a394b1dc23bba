"""What a locator is made of, known before anything is opened or loaded."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from img2loc.bench.runs.costs import PHOTO_TOKENS_DEFAULT, estimate
from img2loc.bench.runs.run_folder import digest, writing
from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.parts import parts
from img2loc.config.plan import Plan, plan_lmm
from img2loc.core.errors import RunError
from img2loc.core.protocols import LMM, Encoder
from img2loc.core.types import Guess, PhotoLike, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from tests.toys import PixelEncoder

HIERARCHY = '[locator.mine]\nkind = "hierarchy"\ncountries = "{countries}"\ncities = "{cities}"\n'


def config(tmp_path: Path, text: str) -> Config:
    (tmp_path / "c.toml").write_text(text)
    return Config.load(tmp_path / "c.toml")


def manifest(folder: Path, rows: int, of: str = "texts", kind: str = "lite0") -> Path:
    """A gallery's manifest, and files beside it that no index can be read from."""
    folder.mkdir(parents=True)
    stamp = {"name": "e", "alias": "toy", "table": {"kind": kind}}
    facts = {
        "format": 1,
        "rows": rows,
        "dim": 4,
        "spec": "Flat",
        "source": "a.csv",
        "of": of,
        "encoder": stamp,
    }
    (folder / "manifest.json").write_text(json.dumps(facts))
    (folder / "gallery.faiss").write_bytes(b"no index")
    (folder / "rows.arrow").write_bytes(b"no rows")
    return folder


class ThirdPartys:
    """Somebody's locator: the names of its parameters say what it is given."""

    def __init__(
        self, gallery: Gallery, encoder: Encoder, prompt: Template, lmm: LMM, times: int = 3
    ) -> None:
        self.parts = (gallery, encoder, prompt, lmm, times)

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        yield from (Guess(photo, "failed") for photo in as_photos(photos))


def test_a_third_partys_locator_is_given_what_its_parameters_are_called(
    tmp_path: Path, gallery: Gallery
) -> None:
    settings = config(
        tmp_path,
        '[encoder.toy]\nkind = "tests.toys:PixelEncoder"\n[lmm.gpt]\nkind = "scripted"\nreplies ='
        ' ["1.5, 2.5"]\n[locator.mine]\nkind = "tests.config.test_plan:ThirdPartys"\ngallery ='
        f' "{gallery.folder}"\n',
    )
    plan = Plan(settings, "mine")
    assert plan.names == {
        "gallery": str(gallery.folder),
        "prompt": "nearest-farthest",
        "lmm": "gpt",
    }
    assert plan.settings["times"] == 3
    assert (plan.galleries["gallery"].rows, plan.galleries["gallery"].of) == (30, "photos")
    made: Any = factory.locator(plan)
    kinds = [type(part) for part in made.parts]
    assert kinds == [Gallery, PixelEncoder, Template, Scripted, int]


def test_the_detail_of_a_photo_is_the_lmms(tmp_path: Path) -> None:
    """In low detail a photograph is 85 tokens, as OpenAI counts them."""
    tokens = [
        estimate(
            Plan(config(tmp_path, f'[lmm.gpt]\ndetail = "{detail}"\n'), "zeroshot")
        ).input_tokens
        for detail in ("low", "auto")
    ]
    assert tokens[1] - tokens[0] == PHOTO_TOKENS_DEFAULT - 85


def test_every_gallery_of_a_locator_is_in_run_json(tmp_path: Path) -> None:
    cities = manifest(tmp_path / "cities", 9)
    plans = [
        Plan(
            config(
                tmp_path, HIERARCHY.format(countries=manifest(tmp_path / name, rows), cities=cities)
            ),
            "mine",
        )
        for name, rows in (("few", 3), ("many", 4))
    ]
    few, many = map(parts, plans)
    assert (few["gallery"], few["gallery_rows"], few["config"]["gallery"]["of"]) == (
        str(cities),
        9,
        "texts",
    )
    assert {key: (one["name"], one["rows"]) for key, one in few["config"]["galleries"].items()} == {
        "countries": (str(tmp_path / "few"), 3),
        "cities": (str(cities), 9),
    }
    assert digest(few) != digest(many)


def test_another_gallery_of_countries_is_another_run_and_an_earlier_versions_run_goes_on(
    tmp_path: Path,
) -> None:
    """A gallery rebuilt with more rows; a run.json that notes the last gallery only."""
    places = HIERARCHY.format(
        countries=manifest(tmp_path / "countries", 3), cities=manifest(tmp_path / "cities", 9)
    )
    before = parts(Plan(config(tmp_path, places), "mine"))
    (tmp_path / "countries").rename(tmp_path / "old")
    manifest(tmp_path / "countries", 4)
    now = parts(Plan(config(tmp_path, places), "mine"))
    with writing(tmp_path / "R", before, []):
        pass
    with (
        pytest.raises(RunError, match=r"config\.galleries\.countries\.rows is 3 there and 4 now"),
        writing(tmp_path / "R", now, []),
    ):
        pass
    del before["config"]["galleries"]
    with writing(tmp_path / "earlier", before, []):
        pass
    with writing(tmp_path / "earlier", now, []) as run:
        assert run.truth == []


def test_the_largest_gallery_is_found_by_manifests_alone(tmp_path: Path) -> None:
    for name, rows in (("small", 500), ("large", 900)):
        manifest(tmp_path / "home" / "galleries" / name, rows, "photos")
    script = (
        "import sys; from img2loc.config.config import Config; from img2loc.config.plan import"
        ' Plan\nplan = Plan(Config.load(), "img2loc"); print(plan.gallery.name,'
        ' plan.gallery.rows)\nprint([name for name in ("faiss", "torch") if name in sys.modules])'
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["large 900", "[]"]


def test_the_price_is_the_tables_own_or_its_models(tmp_path: Path) -> None:
    settings = config(
        tmp_path,
        '[price.m]\ninput = 1.0\noutput = 2.0\n[lmm.a]\nkind = "openai"\nmodel = "m"\n'
        '[lmm.b]\nkind = "openai"\nmodel = "m"\nprice = { input = 3.0, output = 4.0 }\n'
        '[lmm.c]\nkind = "langchain"\nmodel = "openai:m"\n[lmm.d]\nkind = "openai"\nmodel = "n"\n',
    )
    assert [plan_lmm(settings, name).price for name in "abcd"] == [
        {"input": 1.0, "output": 2.0},
        {"input": 3.0, "output": 4.0},
        {"input": 1.0, "output": 2.0},
        {},
    ]
