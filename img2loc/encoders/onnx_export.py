"""A torch image tower → a folder for `OnnxEncoder`, checked against the tower on photographs."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core.errors import ConfigError, SourceError, first_line
from img2loc.core.files import write_json
from img2loc.core.protocols import LEAST_COSINE, Encoder, names_of
from img2loc.core.types import Embeddings, Photo, Rejected
from img2loc.encoders.onnx import ABOUT, FORMAT, MODEL, OnnxEncoder
from img2loc.encoders.torch_encoder import TorchEncoder

LEAST_INT8 = 0.98
"""What the worst photograph's vectors must agree in with 8-bit weights; else it is LEAST_COSINE."""
PACKAGES = ("torch", "onnx", "onnxscript")
"""What an export needs besides the base installation."""
USE = "img2loc.toml"
_OPSET = 20
_LARGEST_FILE = 1.9e9
"""Bytes of weights above which they get a file of their own: a protobuf holds 2 GiB."""
_SIZES = ((640, 480), (480, 640), (333, 500), (1024, 683), (301, 299), (224, 224), (900, 300))


@dataclass(frozen=True, slots=True)
class Exported:
    """What the check found: the worst cosine over `photos`, photographs a second of both; size."""

    photos: int
    worst_cosine: float
    torch_rate: float
    onnx_rate: float
    size_mb: float


def export(
    encoder: TorchEncoder,
    folder: Path,
    photos: Sequence[Photo] = (),
    int8: bool = False,
    alias: str = "mine",
) -> Exported:
    """Write the folder, or nothing; without `photos` it is checked on synthetic ones.

    `encoder` computes on the CPU in float32. With `int8`, matrix products take 8-bit weights
    (dynamic quantization). `alias` is its name in a configuration. Raises ConfigError where the
    folder is not empty, the preprocessing cannot be repeated or the vectors differ, SourceError for
    photographs that cannot be decoded.
    """
    preprocessing = encoder.preprocessing()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already. Name a new folder with --out.")
    draft = folder.with_name(folder.name + ".part")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir(parents=True)
        if int8:
            whole = draft / "float"
            whole.mkdir()
            _write_model(encoder, whole / MODEL)
            _quantize(whole / MODEL, draft / MODEL)
            shutil.rmtree(whole)
        else:
            _write_model(encoder, draft / MODEL)
        about = {
            "format": FORMAT,
            "of": names_of(encoder),
            "dim": encoder.dim,
            "scale": encoder.scale,
        }
        about |= {**preprocessing.facts(), "worst_cosine": 1.0}
        write_json(draft / ABOUT, about)
        found = _compare(encoder, draft, photos or synthetic_photos())
        least = LEAST_INT8 if int8 else LEAST_COSINE
        if not found.worst_cosine >= least:
            raise ConfigError(
                f"The exported {encoder.name} differs: a photograph's two vectors have a cosine of"
                f" {found.worst_cosine:.6f}, and {least} is the least. Nothing was written."
                + (" Export it without --int8." if int8 else "")
            )
        write_json(draft / ABOUT, about | {"worst_cosine": round(found.worst_cosine, 7)})
        (draft / USE).write_text(table(folder, alias), encoding="utf-8")
        draft.replace(folder)
        return found
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {first_line(error)}.") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def table(folder: Path, alias: str) -> str:
    """The table of a configuration that names an exported encoder."""
    name, path = f"{alias}-onnx", json.dumps(str(folder.resolve()), ensure_ascii=False)
    name = name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name, ensure_ascii=False)
    return f'[encoder.{name}]\nkind = "onnx"\nfolder = {path}\n'


def synthetic_photos() -> list[Photo]:
    """JPEGs of colour fields with edges and texture, of all shapes: the same on every machine."""
    return [
        Photo(Path(f"synthetic-{number}.jpg"), _synthetic(number, _SIZES[number % len(_SIZES)]))
        for number in range(2 * len(_SIZES))
    ]


def _synthetic(seed: int, size: tuple[int, int]) -> bytes:
    from PIL import Image

    random = np.random.default_rng(seed)
    pixels = np.zeros((size[1], size[0], 3))
    for cells, weight in ((3, 0.5), (12, 0.3), (60, 0.2)):
        coarse = random.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        smooth = Image.Resampling.BICUBIC if cells < 60 else Image.Resampling.NEAREST
        pixels += weight * np.asarray(Image.fromarray(coarse).resize(size, smooth))
    buffer = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _write_model(encoder: TorchEncoder, path: Path) -> None:
    import torch

    class Tower(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.networks = torch.nn.ModuleList(encoder.networks)

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return encoder.features(pixels).float()

    tower = Tower().eval()
    example = torch.zeros(2, 3, encoder.size, encoder.size)
    weights = sum(each.numel() * each.element_size() for each in tower.state_dict().values())
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # The exporter's own deprecations.
        torch.onnx.export(
            tower,
            (example,),
            str(path),
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=["pixels"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("n")},),
            external_data=weights > _LARGEST_FILE,
        )
    _forget_origins(path)


def _forget_origins(path: Path) -> None:
    """Remove what the exporter notes of the machine: stack traces with its folders."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    for noted in (graph, *graph.node, *graph.input, *graph.output, *graph.value_info):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    onnx.save(model, path)


def _quantize(whole: Path, path: Path) -> None:
    """Write the model with 8-bit weights in its matrix products. Raises ConfigError if none is."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
    nodes = onnx.load(path, load_external_data=False).graph.node
    if not any(node.op_type == "MatMulInteger" for node in nodes):
        raise ConfigError("The model has no matrix product for --int8 to quantize. Leave it out.")


def _compare(encoder: TorchEncoder, folder: Path, photos: Sequence[Photo]) -> Exported:
    exported = OnnxEncoder(str(folder), "cpu", encoder.batch_size)
    theirs, torch_rate = _timed(encoder, photos)
    ours, onnx_rate = _timed(exported, photos)
    worst = float((theirs.astype(np.float64) * ours).sum(axis=1).min())
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    return Exported(len(photos), worst, torch_rate, onnx_rate, size)


def _timed(encoder: Encoder, photos: Sequence[Photo]) -> tuple[Embeddings, float]:
    """The rows of photographs, and how many a second; the first is run before, as a warm-up."""
    list(_rows(encoder, photos[:1]))
    start = time.perf_counter()
    rows = np.stack(list(_rows(encoder, photos)))
    return rows, len(photos) / (time.perf_counter() - start)


def _rows(encoder: Encoder, photos: Sequence[Photo]) -> Iterator[Any]:
    for row in encoder.encode(photos):
        if isinstance(row, Rejected):
            raise SourceError(f"{row.id}: {row.reason}. Check the export on other photographs.")
        yield row
