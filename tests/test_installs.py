"""What pip installs: the base and each extra, alone, in fresh environments; needs a package index.

Run by `make test-slow`. An environment has an empty home and none of this process's variables.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import picture

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "docs" / "demo" / "red-pyramid.jpg"
Shell = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a program of the environment, in its folder."""


def environment(folder: Path, extra: str = "") -> Shell:
    """A fresh environment with the project installed."""
    (folder / "home").mkdir(parents=True)
    variables = {"PATH": "/usr/bin:/bin", "HOME": str(folder / "home")}

    def shell(program: str, *words: object, ok: bool = True) -> subprocess.CompletedProcess[str]:
        command = [str(folder / "venv" / "bin" / program), *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=variables)
        assert (done.returncode == 0) == ok, f"{command}: {done.stderr}"
        return done

    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    shell("python", "-m", "pip", "install", "--quiet", f"{ROOT}{extra}")
    return shell


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Shell]:
    folder = tmp_path_factory.mktemp("base")
    return folder, environment(folder)


def test_the_base_is_small_and_has_no_torch(base: tuple[Path, Shell]) -> None:
    folder, shell = base
    size = sum(file.lstat().st_size for file in (folder / "venv").rglob("*") if file.is_file())
    assert size < 700e6
    assert "No module named 'torch'" in shell("python", "-c", "import torch", ok=False).stderr


def test_the_base_asks_builds_and_scores(base: tuple[Path, Shell]) -> None:
    folder, shell = base
    assert "Giza, Egypt" in shell("img2loc", "ask", DEMO).stdout
    answer = shell("img2loc", "ask", DEMO, "--locator", "zeroshot", "--lmm", "scripted").stdout
    assert "48.8584, 2.2945" in answer
    rows = ["file,lat,lon"]
    for number in range(4):
        picture(number).save(folder / f"{number}.jpg")
        rows.append(f"{number}.jpg,{10 * number + 5},{20 * number}")
    (folder / "photos.csv").write_text("\n".join(rows))
    shell("img2loc", "index", "build", "photos.csv", "--out", "gallery")
    for words in (("info",), ("verify",), ("query",)):
        shell("img2loc", "index", *words, "gallery", *(["0.jpg"] if words == ("query",) else []))
    shell("img2loc", "bench", "run", "photos.csv", "--locator", "retrieval", "--out", "run")
    scores = json.loads(shell("img2loc", "bench", "score", "run", "--json").stdout)
    assert scores["n"] == 4
    shell("img2loc", "bench", "report", "run", "--out", "report.html")
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("embed", "photos.csv", "--encoder", "clip-l14", "--out", "x.npy"), "models"),
        (("embed", "photos.csv", "--encoder", "geoclip", "--out", "x.npy"), "models"),
        (("ask", DEMO, "--locator", "geoclip"), "models"),
        (("ask", DEMO, "--locator", "zeroshot", "--lmm", "llava"), "models"),
        (("index", "build", "gps-100k"), "models"),
        (("setup", "img2loc"), "models"),
        (("train", "geoclip", "photos.csv", "--out", "x"), "models"),
        (("train", "streetclip", "photos.csv", "--out", "x"), "models"),
        (("encoder", "export", "clip-l14", "--out", "x"), "models"),
        (("ask", DEMO, "--locator", "zeroshot", "--lmm", "langchain-anthropic"), "langchain"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(map(str, value[:2])),
)
def test_what_the_base_lacks_names_its_extra(
    words: tuple[object, ...], extra: str, base: tuple[Path, Shell]
) -> None:
    folder, shell = base
    (folder / "photos.csv").write_text("file,lat,lon\n0.jpg,1,2\n")
    error = shell("img2loc", *words, ok=False).stderr
    assert error.strip().splitlines()[-1].endswith(f"pip install 'img2loc[{extra}]'"), error
    assert "Traceback" not in error
    assert not (folder / "x").exists()
    assert not (folder / "x.npy").exists()


def test_heic_alone(tmp_path: Path) -> None:
    shell = environment(tmp_path, "[heic]")
    save = "from PIL import Image; import pillow_heif; pillow_heif.register_heif_opener();"
    shell("python", "-c", f"{save} Image.open({str(DEMO)!r}).save('photo.heic')")
    assert "Egypt" in shell("img2loc", "ask", "photo.heic").stdout


def test_langchain_alone(tmp_path: Path) -> None:
    shell = environment(tmp_path, "[langchain]")
    config = tmp_path / "c.toml"
    config.write_text(
        '[lmm.mine]\nkind = "langchain"\nmodel = "openai:gpt-4o"\n'
        'options = { base_url = "http://127.0.0.1:9/v1", api_key = "none", max_retries = 0 }\n'
    )
    words = ("--locator", "zeroshot", "--lmm", "mine", "--config", config)
    done = shell("img2loc", "ask", DEMO, *words, ok=False)
    assert "onnection" in done.stdout + done.stderr  # It was asked: nothing listens there.


def test_models_alone(tmp_path: Path) -> None:
    shell = environment(tmp_path, "[models]")
    (tmp_path / "points.csv").write_text("lat,lon\n48.8584,2.2945\n-33.8568,151.2153\n")
    shell("img2loc", "embed", "points.csv", "--encoder", "geoclip", "--out", "points.npy")
    shape = "import numpy; print(numpy.load('points.npy').shape)"
    assert shell("python", "-c", shape).stdout == "(2, 512)\n"
    error = shell("img2loc", "ask", DEMO, "--locator", "geoclip", ok=False).stderr
    assert "img2loc setup" in error
    assert "Giza, Egypt" in shell("img2loc", "ask", DEMO, "--gallery", "starter").stdout
