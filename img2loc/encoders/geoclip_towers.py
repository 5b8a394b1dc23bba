"""GeoCLIP's trained parts: image head, location tower, temperature.

Vivanco Cepeda et al., NeurIPS 2023, arXiv 2309.16020. Modules and weights are named as in the
authors' package, so that its files load here and ours load there.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import nn

from img2loc.core.errors import MissingPackage, MissingWeights
from img2loc.core.files import replacing, write_json
from img2loc.core.hub import HubFiles, folder_or_hub
from img2loc.encoders.batched_encoder import loading

SIGMAS = (1.0, 16.0, 256.0)
"""Frequencies of the three capsules, 2⁰, 2⁴ and 2⁸, from the coarsest to the finest."""
Projection = Literal["equal-earth", "equirectangular"]
PACKAGE = "package"
"""Names the weights in the installed package geoclip."""
DIM = 512
WEIGHTS, CONFIG = "model.safetensors", "config.json"
_MODEL_TYPE = "geoclip-geolocation"
_ABLATED = f"{_MODEL_TYPE}-ablation"
"""Of towers that the authors' package would load as another model."""
_IN_THREE = {
    "image_encoder.mlp.": "image_encoder_mlp_weights.pth",
    "location_encoder.": "location_encoder_weights.pth",
    "logit_scale": "logit_scale_weights.pth",
}
# Šavrič, Patterson and Jenny's Equal Earth projection (2018), and GeoCLIP's scale that brings x and
# y to about ±1.
_A1, _A2, _A3, _A4, _SCALE = 1.340264, -0.081106, 0.000893, 0.003796, 66.50336


def equal_earth(points: torch.Tensor) -> torch.Tensor:
    """(lat, lon) in degrees → Equal Earth (x, y), as GeoCLIP scales it; both of shape (n, 2)."""
    lat, lon = torch.deg2rad(points[:, 0]), torch.deg2rad(points[:, 1])
    root = torch.sqrt(torch.tensor(3.0))
    theta = torch.asin((root / 2) * torch.sin(lat))
    slope = 3 * (9 * _A4 * theta**8 + 7 * _A3 * theta**6 + 3 * _A2 * theta**2 + _A1)
    x = (2 * root * lon * torch.cos(theta)) / slope
    y = _A4 * theta**9 + _A3 * theta**7 + _A2 * theta**3 + _A1 * theta
    return (torch.stack((x, y), dim=1) * _SCALE) / 180


def equirectangular(points: torch.Tensor) -> torch.Tensor:
    """(lat, lon) in degrees → (x, y) without a projection's areas, at the scale of the other."""
    return points.flip(1) / 180


class FourierFeatures(nn.Module):
    """(x, y) → cos and sin of `size` random Fourier features (Tancik et al., NeurIPS 2020)."""

    def __init__(self, sigma: float, size: int = 256) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.randn(size, 2) * sigma, requires_grad=False)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Shape (n, 2) → (n, 2 · size)."""
        angles = 2 * math.pi * points @ self.b.T
        return torch.cat((torch.cos(angles), torch.sin(angles)), dim=-1)


class Capsule(nn.Module):
    """One frequency of the location tower; with None, x and y themselves in place of features."""

    def __init__(self, sigma: float | None, width: int = 1024, dim: int = DIM) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs in (2 if sigma is None else 512, width, width):
            layers += [nn.Linear(inputs, width), nn.ReLU()]
        features = nn.Identity() if sigma is None else FourierFeatures(sigma)
        self.capsule = nn.Sequential(features, *layers)
        self.head = nn.Sequential(nn.Linear(width, dim))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Projected points, shape (n, 2) → (n, dim)."""
        features: torch.Tensor = self.head(self.capsule(points))
        return features


class LocationTower(nn.Module):
    """(lat, lon) in degrees, float32, shape (n, 2) → the sum of its capsules, shape (n, 512).

    Without any `sigmas` it has one capsule, and no Fourier features.
    """

    def __init__(
        self, sigmas: Sequence[float] = SIGMAS, projection: Projection = "equal-earth"
    ) -> None:
        super().__init__()
        self.sigmas = tuple(sigmas)
        self.projection = projection
        for number, sigma in enumerate(self.sigmas or (None,)):
            self.add_module(f"LocEnc{number}", Capsule(sigma))

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        """Degrees → features, not normalized."""
        projected = (equal_earth if self.projection == "equal-earth" else equirectangular)(points)
        features = torch.zeros(len(points), DIM, device=points.device)
        for capsule in self.children():
            features = features + capsule(projected)
        return features


class GeoClipParts(nn.Module):
    """Everything of GeoCLIP but the frozen image tower, under the names of the authors' release.

    `width` is the number of features that the image tower gives (CLIP ViT-L/14: 768); the head has
    one hidden layer of as many.
    """

    def __init__(
        self,
        width: int = 768,
        sigmas: Sequence[float] = SIGMAS,
        projection: Projection = "equal-earth",
    ) -> None:
        super().__init__()
        mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, DIM))
        self.image_encoder = nn.ModuleDict({"mlp": mlp})
        self.location_encoder = LocationTower(sigmas, projection)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def head(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the image tower, shape (n, width), as it gives them → (n, 512)."""
        projected: torch.Tensor = self.image_encoder["mlp"](features)
        return projected


def needs(weights: str) -> HubFiles | None:
    """What weights take from a hub; None for the package's and a folder's. Raises ConfigError."""
    return None if weights == PACKAGE else folder_or_hub(weights, (WEIGHTS,), (CONFIG, "*.csv"))


def load(weights: str) -> tuple[GeoClipParts, Mapping[str, object]]:
    """The parts with their weights, and the release's own description ({} where it has none).

    `weights` is "package", a folder, or a hub id whose files are in the cache; a folder holds
    `model.safetensors` and `config.json`, or the package's three .pth files. Only tensors are read,
    never code. Raises MissingWeights for what is missing, of another shape, or no weights at all.
    """
    folder = _folder(weights)
    with loading(f"The weights of GeoCLIP in {folder} cannot be read"):
        tensors, about = _read(folder)
    first = tensors.get("image_encoder.mlp.0.weight")
    sigmas = about.get("sigma", SIGMAS)
    if not isinstance(sigmas, list | tuple) or not all(
        isinstance(sigma, int | float) for sigma in sigmas
    ):
        raise MissingWeights(f"{folder / CONFIG}: sigma is {sigmas!r}, not a list of numbers.")
    projection = next(
        (one for one in get_args(Projection) if one == about.get("projection", "equal-earth")), None
    )
    if projection is None:
        raise MissingWeights(
            f"{folder / CONFIG}: projection is {about['projection']!r}, not one of"
            f" {', '.join(get_args(Projection))}."
        )
    width = first.shape[-1] if first is not None and first.ndim == 2 else 768
    parts = GeoClipParts(width, sigmas, projection)
    expected = {name: tuple(tensor.shape) for name, tensor in parts.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    wrong = [
        f"{name} is {shapes.get(name, 'missing')}, not {shape}"
        for name, shape in expected.items()
        if shapes.get(name) != shape
    ]
    wrong += [f"{name} is not part of GeoCLIP" for name in shapes if name not in expected]
    if wrong:
        raise MissingWeights(
            f"The weights in {folder} are not GeoCLIP's: {wrong[0]} ({len(wrong)} such)."
        )
    parts.load_state_dict(tensors)
    return parts.eval().requires_grad_(False), about


def save(parts: GeoClipParts, folder: Path, about: Mapping[str, object]) -> None:
    """Write the parts as a folder that `load` reads, in the format of the authors' release."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tower, config = parts.location_encoder, {"model_type": _MODEL_TYPE, "format_version": 1}
    if not tower.sigmas or tower.projection != "equal-earth":
        config |= {"model_type": _ABLATED, "projection": tower.projection}
    write_json(folder / CONFIG, {**config, "sigma": list(tower.sigmas), **about})
    tensors = {key: value.detach().cpu().contiguous() for key, value in parts.state_dict().items()}
    with replacing(folder / WEIGHTS) as draft:
        save_file(tensors, draft)


def _folder(weights: str) -> Path:
    if weights == PACKAGE:
        package = find_spec("geoclip")  # Looked up, not imported: importing it takes seconds.
        if package is None or not package.submodule_search_locations:
            raise MissingPackage(
                "GeoCLIP's weights come with the package geoclip: pip install geoclip"
            )
        return Path(package.submodule_search_locations[0]) / "model" / "weights"
    files = needs(weights)
    return Path(weights) if files is None else files.require().parent


def _read(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    if (folder / WEIGHTS).is_file():
        from safetensors.torch import load_file

        about = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        if not isinstance(about, dict) or about.get("model_type") not in (_MODEL_TYPE, _ABLATED):
            raise ValueError(f"its {CONFIG} does not say model_type {_MODEL_TYPE!r}")
        return load_file(folder / WEIGHTS), about
    tensors: dict[str, torch.Tensor] = {}
    for prefix, name in _IN_THREE.items():
        saved = torch.load(folder / name, map_location="cpu", weights_only=True)
        if isinstance(saved, torch.Tensor):
            tensors[prefix] = saved.detach()
        else:
            tensors |= {prefix + key: saved[key] for key in saved}
    return tensors, {}
