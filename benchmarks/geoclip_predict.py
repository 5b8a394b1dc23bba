"""One photograph through GeoCLIP: ours, the authors' `predict`, and the bare image tower.

Both sides get the same ViT-L/14 with random weights (CLIP's own do not change times), GeoCLIP's
trained head and location tower, the authors' 100,000 points and the photograph in the package
geoclip. Rounds are interleaved, so that both meet the same machine.

    python benchmarks/geoclip_predict.py [--rounds 10] [--json FILE]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from img2loc.core.types import Photo
from img2loc.data.recipes import find
from img2loc.encoders.geoclip import GeoClip
from img2loc.encoders.transformers import TransformersClip
from img2loc.gallery.build.pipeline import build


def seconds(act: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    act()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import geoclip

    torch.manual_seed(0)
    package = geoclip.GeoCLIP(clip_pretrained=False).eval()
    photo = Path(geoclip.__file__).parent / "images" / "Kauai.png"
    with tempfile.TemporaryDirectory() as temporary:
        clip = Path(temporary) / "clip"
        package.image_encoder.CLIP.save_pretrained(clip)
        package.image_encoder.image_processor.save_pretrained(clip)
        tower = TransformersClip(str(clip), processor="torchvision")
        encoder = GeoClip(tower)
        print(
            f"building gps-100k; the tower computes in {tower.dtype} on {tower.device}",
            file=sys.stderr,
        )
        gallery = build(
            find("gps-100k").source(),
            encoder,
            Path(temporary) / "gallery",
            alias="geoclip",
            table={},
            of="points",
        )

        def ours() -> list[tuple[float, float]]:
            (row,) = encoder.encode([Photo(photo)])
            assert isinstance(row, np.ndarray)
            nearest = gallery.search(row, 5, scale=encoder.scale).nearest
            return [(entry.location.lat, entry.location.lon) for entry in nearest]

        pixels = tower.prepare(Photo(photo).image())[None].to(tower.device, tower.dtype)

        def bare() -> None:
            with torch.inference_mode():
                tower.features(pixels)

        where, _ = package.predict(str(photo), top_k=5)
        single = GeoClip(TransformersClip(str(clip), dtype="float32", processor="torchvision"))
        (row,) = single.encode([Photo(photo)])
        assert isinstance(row, np.ndarray)
        same = [(e.location.lat, e.location.lon) for e in gallery.search(row, 5).nearest]
        if not np.allclose(same, where.tolist(), atol=1e-5):
            sys.exit(
                f"In single precision our five nearest are {same}, the package's {where.tolist()}."
            )
        ours()
        bare()
        times: dict[str, list[float]] = {"ours": [], "bare": [], "package": []}
        for number in range(options.rounds):
            times["bare"].append(seconds(bare))
            times["ours"].append(seconds(ours))
            if number < 3:  # It takes many seconds, and hardly varies.
                times["package"].append(seconds(lambda: package.predict(str(photo), top_k=5)))
    median = {name: statistics.median(values) for name, values in times.items()}
    result = {
        "dtype": str(tower.dtype),
        "threads": torch.get_num_threads(),
        **{f"{name}_s": round(value, 4) for name, value in median.items()},
        "times_faster_than_predict": round(median["package"] / median["ours"], 1),
        "times_the_bare_tower": round(median["ours"] / median["bare"], 3),
    }
    for name, value in result.items():
        print(f"{name:28} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
