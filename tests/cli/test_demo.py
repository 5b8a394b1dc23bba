"""The two photos of `make demo`: one that the starter gallery knows, and one of elsewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.galleries import STARTER, open_gallery
from img2loc.core.types import Photo
from tests.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
PHOTOS = sorted((ROOT / "docs" / "demo").glob("*.jpg"))


def test_the_answers_are_those_of_the_readme(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    code, out, err = run("ask", *(photo.relative_to(ROOT) for photo in PHOTOS))
    block = re.search(
        r"^\$ img2loc ask docs/demo.*?\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    assert block is not None
    assert out == block[1]
    assert "Searching the starter gallery" in err
    placed, elsewhere = out.split("docs/demo/rocket.jpg")
    assert "Giza, Egypt" in placed
    assert "Unsure" not in placed
    assert "Unsure" in elsewhere
    assert code == 0


def test_neither_photo_is_in_the_gallery() -> None:
    assert [photo.name for photo in PHOTOS] == ["red-pyramid.jpg", "rocket.jpg"]
    assert all(photo.stat().st_size <= 150_000 for photo in PHOTOS)
    rows = factory.encoder(Config.load(), "lite0").encode(map(Photo, PHOTOS))
    similarities = open_gallery(Config.load(), STARTER).index.similarities(np.stack(list(rows)))  # type: ignore[arg-type]
    assert similarities.max() < 0.9
