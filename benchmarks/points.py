"""A gallery of points: how its build compares with the bare location tower, and its memory.

The points lie evenly over the Earth; the tower is GeoCLIP's trained one, and the image tower, which
a gallery of points does not use, EfficientNet-Lite0. The bare tower runs over the same points in
the same batches, in turn with the build.

    python benchmarks/points.py [--points 1000000] [--json FILE]
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from img2loc.core.memory import return_large_blocks
from img2loc.core.types import Embeddings, Location
from img2loc.data.points import GridSource
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip import GeoClip
from img2loc.encoders.lite0 import Lite0
from img2loc.gallery.build.pipeline import build


class Timed(GeoClip):
    """Measures the bare tower on every batch that it embeds, before it embeds it for the build."""

    bare_wall = bare_cpu = added_wall = added_cpu = 0.0

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        """As the base, after a round that is only timed."""
        begun = time.perf_counter(), time.process_time()
        degrees = torch.tensor([(at.lat, at.lon) for at in points], dtype=torch.float32)
        wall, cpu = time.perf_counter(), time.process_time()
        with torch.inference_mode():
            self._parts.location_encoder(degrees)
        self.bare_wall += time.perf_counter() - wall
        self.bare_cpu += time.process_time() - cpu
        self.added_wall += time.perf_counter() - begun[0]
        self.added_cpu += time.process_time() - begun[1]
        return super().encode_points(points)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    return_large_blocks()
    with tempfile.TemporaryDirectory() as temporary:
        weights = Path(temporary) / "weights"
        parts, _ = geoclip_towers.load("package")
        for_lite0 = geoclip_towers.GeoClipParts(width=1280)
        for_lite0.location_encoder.load_state_dict(parts.location_encoder.state_dict())
        geoclip_towers.save(for_lite0, weights, {})
        encoder = Timed(Lite0(device="cpu"), weights=str(weights))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        wall, cpu = time.perf_counter(), time.process_time()
        gallery = build(
            GridSource(options.points),
            encoder,
            Path(temporary) / "gallery",
            alias="geoclip",
            table={},
            of="points",
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        size = sum(
            file.stat().st_size
            for file in (Path(temporary) / "gallery").iterdir()
            if file.is_file()
        )
    ours = {"wall": wall - encoder.added_wall, "cpu": cpu - encoder.added_cpu}
    result = {
        "points": len(gallery),
        "spec": gallery.manifest["spec"],
        "bare_points_a_second": round(options.points / encoder.bare_wall),
        "build_points_a_second": round(options.points / ours["wall"]),
        "share_of_the_bare_towers_throughput": round(encoder.bare_wall / ours["wall"], 3),
        "the_same_by_cpu_time": round(encoder.bare_cpu / ours["cpu"], 3),
        "peak_MB_before_and_after": (before // 1000, after // 1000),
        "gallery_MB": size // 1_000_000,
    }
    for name, value in result.items():
        print(f"{name:38} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
