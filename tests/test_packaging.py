"""The wheel holds what the checkout has, and nothing of anyone's machine."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from img2loc.core import paths as assets

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return archive.namelist()


def test_the_data_folders_ship_in_the_wheel(wheel: list[str]) -> None:
    for name in (
        "prompts/nearest-farthest.txt",
        "index/mp16.toml",
        "index/starter/gallery.faiss",
        "index/starter/manifest.json",
        "eval/README.md",
    ):
        assert f"img2loc/_assets/{name}" in wheel
    for name in ("config/defaults.toml", "encoders/lite0/model.onnx", "encoders/lite0/LICENSE"):
        assert f"img2loc/{name}" in wheel
    assert not [
        name
        for name in wheel
        if name.endswith((".jpg", ".png", ".pth", ".safetensors")) or name.startswith("tests")
    ]


def test_the_checkout_is_found_without_a_wheel() -> None:
    assert assets.folder("prompts") == ROOT / "prompts"


def test_contributing_names_what_is_there() -> None:
    """Files, registries (`NAME["role"]`) and methods that CONTRIBUTING names exist."""
    from img2loc.encoders.torch_encoder import TorchEncoder

    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = re.findall(r"`([a-z0-9_]+/[a-z0-9_./]*)`", text)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []
    registries = re.findall(r"`(\S+)\[\"(?:lmm|encoder)\"\]`(?:\s+of\s+`(\S+)`)?", text)
    assert len(registries) == 2
    for name, file in registries:
        assert f"\n{name}: " in (ROOT / file).read_text()
    (methods,) = re.findall(r"stamp it with `(\w+)`, and give\s+`(\w+)` [^`]+ and `(\w+)`", text)
    assert [method for method in methods if not callable(getattr(TorchEncoder, method, None))] == []


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "index/README.md",
        "eval/README.md",
        "prompts/README.md",
        "index/places/README.md",
    ],
)
def test_every_row_of_a_documents_table_is_whole(name: str) -> None:
    rows = [line for line in (ROOT / name).read_text().splitlines() if line.startswith("|")]
    assert [row for row in rows if not row.rstrip().endswith("|")] == []


def test_the_starter_gallery_names_no_machine() -> None:
    manifest = json.loads((ROOT / "index" / "starter" / "manifest.json").read_text())
    assert manifest["rows"] == 123
    assert not re.search(r"(?<![A-Za-z])/[a-z]+/", json.dumps(manifest))


def test_every_row_of_the_starter_gallery_may_be_passed_on() -> None:
    import pyarrow as pa

    rows = pa.ipc.open_file(ROOT / "index" / "starter" / "rows.arrow").read_all()
    allowed = tomllib.loads((ROOT / "index" / "starter.toml").read_text())["licenses"]
    for license in rows["licence"].to_pylist():
        assert any(
            phrase.replace(" ", "") in re.sub(r"[\s-]", "", license) for phrase in allowed
        ), license


def test_the_readme_names_the_two_commands_on_its_first_screen() -> None:
    first = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "make demo" in first
    assert "make test" in first
