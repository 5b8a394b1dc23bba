"""The ONNX file that ships against the torch model of which it was made."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from img2loc.core.protocols import Encoder, names_of
from img2loc.core.types import Embeddings, Photo
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.lite0.make import TorchLite0
from img2loc.encoders.onnx_export import synthetic_photos
from tests.conftest import MakePhoto

ROOT = Path(__file__).resolve().parents[2]


def rows(encoder: Encoder, photos: list[Photo]) -> Embeddings:
    found = list(encoder.encode(photos))
    assert all(isinstance(row, np.ndarray) for row in found)
    return np.stack(found)  # type: ignore[arg-type]


def kauai() -> Path:
    """The photograph in the package geoclip; importing that warns, and takes seconds."""
    spec = find_spec("geoclip")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "images" / "Kauai.png"


def test_its_vectors_are_those_of_the_torch_model(make_photo: MakePhoto, tmp_path: Path) -> None:
    large = tmp_path / "large.jpg"
    Image.open(kauai()).convert("RGB").resize((2048, 1536)).save(large, quality=92)
    odd = [
        make_photo(f"{size[0]}.jpg", size[0], size) for size in ((33, 47), (256, 257), (31, 480))
    ]
    photos = [*synthetic_photos(), *map(Photo, (kauai(), large, *odd))]
    encoder, original = Lite0("cpu"), TorchLite0()
    assert (rows(encoder, photos) * rows(original, photos)).sum(axis=1).min() >= 0.9999
    assert encoder.name == original.name
    assert encoder.dim == original.dim


def test_the_shipped_gallery_takes_its_queries() -> None:
    manifest = json.loads((ROOT / "index" / "starter" / "manifest.json").read_text())
    assert Lite0("cpu").name == manifest["encoder"]["name"]
    assert names_of(Lite0("cpu"))[0] == "lite0/1280d-224px@d2c40adac1b7"


@pytest.mark.parametrize("number", [1, 3])
def test_it_imports_no_library_of_models(number: int, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from img2loc.core.types import Photo\nfrom img2loc.encoders.lite0 import Lite0\n"
        f"rows = list(Lite0().encode([Photo(Path({str(kauai())!r}))] * {number}))\n"
        f"assert len(rows) == {number} and rows[0].shape == (1280,)\n"
        "heavy = ['torch', 'timm', 'torchvision', 'transformers', 'scipy', 'onnx', 'sympy']\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_the_file_names_no_machine() -> None:
    content = (ROOT / "img2loc" / "encoders" / "lite0" / "model.onnx").read_bytes()
    assert 10e6 < len(content) < 18e6
    for word in (b"site-packages", b".py", b"/home", b"/work"):
        assert word not in content
