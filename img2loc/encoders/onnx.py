"""An image tower in a folder, run by onnxruntime: no torch. `img2loc encoder export` makes one.

The folder holds `model.onnx` (pixels of shape (n, 3, size, size) → features of shape (n, dim),
float32) and `encoder.json`: the preprocessing, `dim`, `scale`, and what it stands in for, `of` and
`worst_cosine` (protocols.StandsIn). It is anybody's data: nothing in it is run but the model's own
operators.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from img2loc.core.errors import ConfigError, MissingWeights, first_line
from img2loc.core.types import Embedding, Embeddings
from img2loc.encoders.batched_encoder import BatchedEncoder, loading
from img2loc.encoders.preprocessing import Pixels, Preprocessing

if TYPE_CHECKING:
    from onnxruntime import InferenceSession
    from PIL.Image import Image

FORMAT = 1
MODEL, ABOUT = "model.onnx", "encoder.json"
_CUDA = "CUDAExecutionProvider"
_SAMPLES, _SAMPLE = 64, 4096
_SHORTEST = 1e-12
_REMEDY = "Make the folder again: img2loc encoder export NAME --out FOLDER."


class OnnxEncoder(BatchedEncoder[Pixels]):
    """An exported image tower; `folder` is absolute or relative to the working directory.

    `device`: "auto" (CUDA where this onnxruntime has it, else CPU), "cpu", "cuda" or "cuda:N".
    Raises MissingWeights where a file is missing, damaged or no encoder's, ConfigError for a device
    that is not here.
    """

    def __init__(self, folder: str, device: str = "auto", batch_size: int = 8) -> None:
        super().__init__(device, batch_size)
        model, about = Path(folder).expanduser() / MODEL, Path(folder).expanduser() / ABOUT
        facts = _read(about)
        try:
            self.preprocessing = Preprocessing.of(facts)
            self._dim, scale = int(facts["dim"]), facts["scale"]
            self.scale = None if scale is None else float(scale)
            self.of = tuple(map(str, facts["of"]))
            self.worst_cosine = float(facts["worst_cosine"])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"lacks {error}" if isinstance(error, KeyError) else first_line(error)
            raise MissingWeights(f"{about} describes no encoder: {reason}. {_REMEDY}") from error
        if not model.is_file():
            raise MissingWeights(f"There is no file {model}. {_REMEDY}")
        self.size = self.preprocessing.size
        self._session, self.device = _session(model, device, self._workers)
        self._input = _checked_input(self._session, model, self.size, self.dim)
        mark = _fingerprint(model, self.preprocessing)
        self._name = f"onnx/{self.dim}d-{self.size}px@{mark}"

    def prepare(self, image: Image) -> Pixels:
        """One image → the model's input."""
        return self.preprocessing(image)

    def features(self, pixels: Pixels) -> Embeddings:
        """Inputs, shape (n, 3, size, size) → float32 features as the model gives them, (n, dim)."""
        features: Embeddings = self._session.run(None, {self._input: pixels})[0]
        return features

    def _rows(self, inputs: list[Pixels]) -> Iterable[Embedding]:
        features = self.features(np.stack(inputs))
        with np.errstate(invalid="ignore", over="ignore"):  # `encode` rejects what is not finite.
            lengths = np.linalg.norm(features, axis=1, keepdims=True)
            rows: Embeddings = features / np.maximum(lengths, _SHORTEST)
        return rows


def _read(about: Path) -> dict[str, Any]:
    try:
        facts = json.loads(about.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingWeights(f"There is no file {about}. {_REMEDY}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise MissingWeights(f"{about} cannot be read: {first_line(error)}. {_REMEDY}") from error
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise MissingWeights(
            f"{about} is not of format {FORMAT}, which this version reads. {_REMEDY}"
        )
    return facts


def _session(model: Path, device: str, threads: int) -> tuple[InferenceSession, str]:
    """The model on a device, and that device's name."""
    import onnxruntime

    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (
        number and not (kind == "cuda" and number.isdigit())
    ):
        raise ConfigError(
            f"The device {device!r} cannot run an ONNX encoder. Use auto, cpu, cuda or cuda:N (the"
            " GPU of that number)."
        )
    onnxruntime.set_default_logger_severity(3)  # It warns of GPUs that it does not know.
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin while they wait take the cores from those that decode.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    offered = _CUDA in onnxruntime.get_available_providers()
    providers: list[Any] = ["CPUExecutionProvider"]
    if offered and kind != "cpu":
        # TF32 would round the products to 10 bits.
        providers.insert(0, (_CUDA, {"device_id": int(number or 0), "use_tf32": 0}))
    with loading(f"onnxruntime cannot load {model}"):
        session = onnxruntime.InferenceSession(model, options, providers=providers)
    if _CUDA in session.get_providers():
        return session, f"cuda:{number or 0}"
    if kind == "cuda":
        raise ConfigError(
            f"The device {device!r} cannot be used: onnxruntime has no CUDA here. Install"
            " onnxruntime-gpu in place of onnxruntime, or use cpu."
        )
    return session, "cpu"


def _checked_input(session: InferenceSession, model: Path, size: int, dim: int) -> str:
    """The name of the model's input. Raises MissingWeights unless it is as encoder.json has it."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = [list(each.shape[1:]) for each in (*inputs, *outputs)]
    types = {each.type for each in (*inputs, *outputs)}
    batch = {type(each.shape[0]) for each in (*inputs, *outputs) if each.shape}
    if shapes != [[3, size, size], [dim]] or types != {"tensor(float)"} or int in batch:
        raise MissingWeights(
            f"{model} is not the model of its {ABOUT}: it should take any number of 3 × {size} ×"
            f" {size} pixels and give {dim} features for each. {_REMEDY}"
        )
    return str(inputs[0].name)


def _fingerprint(model: Path, preprocessing: Preprocessing) -> str:
    """Twelve hex digits of preprocessing and model: its size and a sample of its bytes."""
    digest = hashlib.sha256(json.dumps(preprocessing.facts(), sort_keys=True).encode())
    for path in (model, model.with_name(MODEL + ".data")):
        size = path.stat().st_size if path.exists() else 0
        digest.update(str(size).encode())
        if not size:
            continue
        with path.open("rb") as file:
            for number in range(_SAMPLES):
                file.seek(number * size // _SAMPLES)
                digest.update(file.read(_SAMPLE))
    return digest.hexdigest()[:12]
