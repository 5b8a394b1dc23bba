"""A run of a paper's locator says whose it is, and everything in which it is not as shipped."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from img2loc.bench.runs.reproduction import reproduction
from img2loc.config.config import Config
from img2loc.config.plan import Plan
from tests.bench_toys import benchmark
from tests.config.test_plan import manifest
from tests.conftest import Cli

RUN = ("bench", "run")


def about(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def test_the_papers_locator_needs_no_other_flag(tmp_path: Path, run: Cli) -> None:
    truth = benchmark(tmp_path / "photos", 3)
    words = (*RUN, truth, "--locator", "img2loc-paper", "--lmm", "scripted")
    code, _, err = run(*words, "--out", tmp_path / "A")
    assert code == 0, err
    assert "It reproduces Zhou et al., Img2Loc, SIGIR 2024" in err
    made = about(tmp_path / "A")["reproduction"]
    assert made["name"] == "img2loc-paper"
    assert made["deviations"] == {
        "locator.lmm": {"reproduction": "gpt-paper", "run": "scripted"},
        "gallery": {"reproduction": "mp16-paper", "run": "starter"},
        "gallery.encoder": {"reproduction": "clip-l14-paper-raw", "run": "lite0"},
    }
    assert run(*words, "--out", tmp_path / "A")[0] == 0  # It resumes.
    line = json.loads((tmp_path / "A" / "predictions.jsonl").read_text().splitlines()[0])
    assert line["prompts"][0].count(") (") == 30


def test_every_flag_and_key_that_differs_is_named(tmp_path: Path, run: Cli) -> None:
    truth = benchmark(tmp_path / "photos", 3)
    (tmp_path / "mine.txt").write_text("Near $nearest")
    (tmp_path / "c.toml").write_text(
        '[locator.img2loc-paper]\nprompt = "./mine.txt"\nfarthest = 0\n[lmm.gpt-paper]\n'
        'kind = "scripted"\nreplies = ["1, 2"]\n'
    )
    options = ("--config", tmp_path / "c.toml", "--limit", "2", "--no-exclude")
    words = (*RUN, truth, "--locator", "img2loc-paper", *options, "--out", tmp_path / "A")
    code, _, err = run(*words)
    assert code == 0, err
    deviations = about(tmp_path / "A")["reproduction"]["deviations"]
    assert {
        *("locator.prompt", "locator.farthest", "selection.limit", "leaks.exclude", "gallery"),
        *("lmm.gpt-paper.kind", "lmm.gpt-paper.replies", "lmm.gpt-paper.max_tokens"),
    } <= set(deviations)
    assert deviations["locator.farthest"] == {"reproduction": 16, "run": 0}
    assert deviations["lmm.gpt-paper.max_tokens"] == {"reproduction": 300, "run": None}


def test_other_locators_reproduce_nothing(tmp_path: Path, run: Cli) -> None:
    truth = benchmark(tmp_path / "photos", 2)
    words = (*RUN, truth, "--locator", "img2loc", "--lmm", "scripted", "--out", tmp_path / "A")
    code, _, err = run(*words)
    assert code == 0
    assert "reproduces" not in err
    assert "reproduction" not in about(tmp_path / "A")


@pytest.mark.parametrize(
    ("text", "deviations"),
    [
        ("", {}),
        (
            '[encoder.clip-l14-paper]\ndtype = "bfloat16"\n',
            {"encoder.clip-l14-paper.dtype": {"reproduction": "float32", "run": "bfloat16"}},
        ),
    ],
)
def test_the_papers_gallery_and_the_encoder_inside_another(
    tmp_path: Path, text: str, deviations: Mapping[str, Any]
) -> None:
    folder = manifest(tmp_path / "home" / "galleries" / "mp16-paper", 9, "photos")
    about = json.loads((folder / "manifest.json").read_text())
    about["encoder"]["alias"] = "clip-l14-paper-raw"
    (folder / "manifest.json").write_text(json.dumps(about))
    manifest(tmp_path / "home" / "galleries" / "gps-100k", 9, "points")
    (tmp_path / "c.toml").write_text('[locator.img2loc-paper]\ngallery = "mp16-paper"\n' + text)
    settings = Config.load(tmp_path / "c.toml")
    for name in ("img2loc-paper", "geoclip-paper"):
        assert reproduction(Plan(settings, name), {})["deviations"] == deviations


def test_every_reproduction_is_a_locator_on_the_page() -> None:
    shipped = Config.shipped()
    page = (Path(__file__).parents[2] / "docs" / "reproduction.md").read_text()
    names = shipped.names("reproduction")
    assert set(names) <= set(shipped.names("locator"))
    assert [name for name in names if f"`{name}`" not in page] == []
