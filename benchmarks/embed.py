"""`index build` from tar files: photographs a second, against the bare model and a plain loop.

Run: python benchmarks/embed.py PHOTOS [--encoder lite0] [--torch] [--count 1000] [--rounds 3]
[--json FILE].
PHOTOS is a folder of JPEGs, which are repeated under other names until there are `count`, in tars
of WebDataset's pairs below a temporary folder.

All ways run in one process on the same cores, one after the other in every round; the table gives
the median of the rounds, and ratios are taken within a round, so that other work on the machine
weighs on both sides. The ways: `model` runs batches that are prepared already; `decode` only
decodes and prepares, in as many threads as there are cores; `loop` opens, prepares and runs one
photograph after the other; `build` is the first half of `index build`, with its shards written.
Where the model itself uses every core, nothing can be faster than 1 / (1 / model + 1 / decode):
that is the `ideal`. The same ratios in processor time say what each way costs, however busy the
machine is.

With `--torch`, which needs the extra `dev`, every round also builds with lite0 and with the torch
model that it was made from, both in batches of several sizes.
"""

import argparse
import io
import json
import os
import platform
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from PIL import Image

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.core import images
from img2loc.core.protocols import Source
from img2loc.core.types import Item, Photo
from img2loc.data.source_from_path import open_source
from img2loc.encoders.batched_encoder import BatchedEncoder
from img2loc.gallery.build.embed_parts import embed

_IN_A_TAR = 500
_WAYS = ("model", "decode", "loop", "build")
_BATCHES = (4, 8, 16, 32)


def main() -> None:
    """Print the table, and write the JSON."""
    parser = argparse.ArgumentParser(
        description="Photographs a second of `index build`, against the model alone."
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--encoder", default="lite0")
    parser.add_argument("--torch", action="store_true")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    encoder = factory.encoder(Config.load(), options.encoder)
    if not isinstance(encoder, BatchedEncoder):
        raise SystemExit(
            f"The encoder {options.encoder} is not one of ours, so its model cannot be run alone."
        )
    with tempfile.TemporaryDirectory() as folder:
        size = _write_tars(options.photos, Path(folder) / "tars", options.count)
        source = open_source(Path(folder) / "tars")
        rounds, compared = [], []
        for number in range(options.rounds):
            rounds.append(_round(encoder, source, Path(folder) / f"round{number}"))
            if options.torch:
                compared.append(_compare(source, Path(folder) / f"compared{number}"))
    rates = {way: median(options.count / seconds[way] for seconds, _ in rounds) for way in _WAYS}
    result: dict[str, Any] = {
        "encoder": encoder.name,
        "photos": options.count,
        "bytes a photo": round(size / options.count),
        "batch": encoder.batch_size,
        "device": encoder.device,
        "cores": os.cpu_count(),
        "machine": platform.processor() or platform.machine(),
        "photos a second": {
            **{way: round(rate, 2) for way, rate in rates.items()},
            "ideal": round(_ideal(rates), 2),
        },
        "ratios": _ratios([seconds for seconds, _ in rounds]),
        "ratios in processor time": _ratios([processor for _, processor in rounds]),
        "against torch": _against_torch(compared, options.count) if compared else {},
        "rounds, in seconds": [seconds for seconds, _ in rounds],
        "rounds, in seconds of a processor": [processor for _, processor in rounds],
    }
    print(
        f"{encoder.name}, {options.count} photos of {size / options.count / 1000:.0f} kB, batches"
        f" of {encoder.batch_size}"
    )
    for way, rate in result["photos a second"].items():
        print(f"  {way:8} {rate:9.2f} photos/s")
    print(f"  {'':26} {'time':>6} {'processor time':>15}")
    for ratio, value in result["ratios"].items():
        print(f"  {ratio:26} {value:6.3f} {result['ratios in processor time'][ratio]:15.3f}")
    for way, value in result["against torch"].items():
        print(f"  {way:44} {value:8.3f}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _ratios(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """Throughput against throughput, the median of the rounds."""
    wanted = {
        "build / model": lambda s: s["model"] / s["build"],
        "build / ideal": lambda s: (s["model"] + s["decode"]) / s["build"],
        "build / loop": lambda s: s["loop"] / s["build"],
        "ideal / model": lambda s: s["model"] / (s["model"] + s["decode"]),
    }
    return {name: round(median(map(ratio, rounds)), 3) for name, ratio in wanted.items()}


def _round(
    encoder: BatchedEncoder[Any], source: Source, folder: Path
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds, and seconds of a processor, of each way over the whole source."""
    photos = [entry.photo for entry in source if isinstance(entry, Item)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        prepared: list[Any] = []
        decode = _timed(lambda: prepared.extend(pool.map(encoder._decode, photos)))
    batches = [
        prepared[start : start + encoder.batch_size]
        for start in range(0, len(prepared), encoder.batch_size)
    ]
    folder.mkdir()
    found = {
        "model": _timed(lambda: _run(encoder, batches)),
        "decode": decode,
        "loop": _timed(
            lambda: _run(encoder, ([encoder.prepare(_opened(photo))] for photo in photos))
        ),
        "build": _timed(lambda: embed(source, encoder, folder)),
    }
    return {way: found[way][0] for way in _WAYS}, {way: found[way][1] for way in _WAYS}


def _compare(source: Source, folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds, and seconds of a processor, of builds by onnxruntime and by torch."""
    from img2loc.encoders.lite0 import Lite0
    from img2loc.encoders.lite0.make import TorchLite0

    found = {}
    for batch in _BATCHES:
        encoders: dict[str, BatchedEncoder[Any]] = {"onnx": Lite0("cpu"), "torch": TorchLite0()}
        for name, encoder in encoders.items():
            encoder.batch_size = batch
            out = folder / f"{name}{batch}"
            out.mkdir(parents=True)
            found[f"{name} {batch}"] = _timed(partial(embed, source, encoder, out))
    return found


def _against_torch(
    rounds: Sequence[dict[str, tuple[float, float]]], count: int
) -> dict[str, float]:
    """Photos a second of each build, and onnxruntime's over torch's: medians of the rounds."""
    result: dict[str, float] = {}
    for way in rounds[0]:
        result[f"{way}, photos/s"] = median(count / found[way][0] for found in rounds)
        result[f"{way}, ms of a processor"] = (
            median(found[way][1] / count for found in rounds) * 1e3
        )
    for title, which in (("time", 0), ("processor time", 1)):
        eight = [found["torch 8"][which] / found["onnx 8"][which] for found in rounds]
        best = [_best(found, "torch", which) / _best(found, "onnx", which) for found in rounds]
        result[f"onnx / torch, batches of 8, {title}"] = median(eight)
        result[f"onnx / torch, best batch of each, {title}"] = median(best)
    return {name: round(value, 3) for name, value in result.items()}


def _best(found: dict[str, tuple[float, float]], name: str, which: int) -> float:
    return min(costs[which] for way, costs in found.items() if way.startswith(name))


def _run(encoder: BatchedEncoder[Any], batches: Iterable[list[Any]]) -> None:
    """Run batches, each until its rows are in memory."""
    for batch in batches:
        float(next(iter(encoder._rows(batch)))[0])


def _opened(photo: Photo) -> Image.Image:
    content = photo.data() if callable(photo.data) else photo.path.read_bytes()
    return Image.open(io.BytesIO(content)).convert("RGB")


def _ideal(rates: dict[str, float]) -> float:
    return 1 / (1 / rates["model"] + 1 / rates["decode"])


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    start, used = time.perf_counter(), time.process_time()
    work()
    return round(time.perf_counter() - start, 3), round(time.process_time() - used, 3)


def _write_tars(photos: Path, folder: Path, count: int) -> int:
    """Repeat the photographs into tars; returns their bytes."""
    folder.mkdir()
    files = sorted(file for file in photos.rglob("*") if file.suffix.lower() in images.SUFFIXES)
    chosen = islice(cycle(files), count)
    written = 0
    for number, start in enumerate(range(0, count, _IN_A_TAR)):
        with tarfile.open(folder / f"{number:05}.tar", "w") as tar:
            for at, file in enumerate(islice(chosen, min(_IN_A_TAR, count - start))):
                content = file.read_bytes()
                written += len(content)
                for name, part in _pair(f"{start + at:09}", file.suffix, content):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(part)
                    tar.addfile(entry, io.BytesIO(part))
    return written


def _pair(key: str, suffix: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield key + suffix, content
    yield f"{key}.json", json.dumps({"lat": 1.0, "lon": 2.0}).encode()


if __name__ == "__main__":
    main()
