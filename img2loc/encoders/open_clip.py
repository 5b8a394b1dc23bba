"""CLIP models through open_clip, by pretrained tag, hub repository, folder or checkpoint."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2loc.core.errors import ConfigError
from img2loc.core.hub import HubFiles
from img2loc.encoders.batched_encoder import loading
from img2loc.encoders.preprocessing import Preprocessing
from img2loc.encoders.preprocessing_of import transform_steps
from img2loc.encoders.torch_encoder import TextTower, TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


class OpenClip(TorchEncoder, TextTower):
    """The image tower and the text tower of a CLIP model.

    `model` is an open_clip architecture with `pretrained` a tag ("openai") or a checkpoint file; or
    "hf-hub:org/repo"; or "local-dir:FOLDER" with open_clip_config.json and weights. Weights trained
    with QuickGELU get it (by tag, and for OpenAI's own .pt files); for other checkpoint files the
    architecture's name decides ("ViT-L-14-quickgelu"). Raises MissingWeights rather than start from
    random ones.
    """

    def __init__(
        self,
        model: str,
        pretrained: str = "",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
    ) -> None:
        super().__init__("open_clip", device, dtype, batch_size)
        import open_clip

        name, options = _resolve(model, pretrained)
        with loading(f"open_clip cannot load {model!r} with {pretrained!r}"):
            network, self._transform = open_clip.create_model_from_pretrained(
                name, device="cpu", **options
            )
        preprocessing = {
            **network.visual.preprocess_cfg,
            **_architecture(name, bool(options.get("force_quick_gelu"))),
        }
        size = preprocessing["size"]
        side = size[0] if isinstance(size, tuple | list) else size
        self._architecture_name = name
        self.scale = float(network.logit_scale.detach().exp())
        self._adopt(network, int(network.visual.output_dim), side, preprocessing)

    @classmethod
    def needs(cls, model: str, pretrained: str = "", **_: object) -> HubFiles | None:
        """What it takes from a hub; None where its weights are local. Raises ConfigError."""
        if model.startswith("hf-hub:"):
            return HubFiles(model.removeprefix("hf-hub:"), _WEIGHTS, ("open_clip_config.json",))
        folder = model.removeprefix("local-dir:")
        if folder != model and not Path(folder).is_dir():
            raise ConfigError(f"There is no folder {folder}.")
        if folder != model:
            return None
        import open_clip

        # A tag first: a file of that name in the working directory may be other people's.
        tag = open_clip.get_pretrained_cfg(model, pretrained)
        if not tag and Path(pretrained).is_file():
            return None
        if open_clip.get_model_config(model) is None:
            raise ConfigError(
                f"open_clip knows no model {model!r}. `open_clip.list_models()` names them."
            )
        if not tag:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(model)) or "none"
            raise ConfigError(
                f"{model!r} has no pretrained weights {pretrained!r}: no such file or tag. Tags:"
                f" {tags}."
            )
        repo, _, file = tag.get("hf_hub", "").rpartition("/")
        return HubFiles(repo, (file,) if file else _WEIGHTS)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    def preprocessing(self) -> Preprocessing:
        """What the transform does."""
        return transform_steps(self._transform)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs → features."""
        features: torch.Tensor = self._model.encode_image(pixels)  # type: ignore[operator]
        return features

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """A batch of texts → features."""
        tokens = self._tokenizer(list(texts)).to(self.device)
        features: torch.Tensor = self._model.encode_text(tokens)  # type: ignore[operator]
        return features

    @cached_property
    def _tokenizer(self) -> Any:
        import open_clip

        return open_clip.get_tokenizer(self._architecture_name)


def _resolve(model: str, pretrained: str) -> tuple[str, dict[str, Any]]:
    """The name and options with which open_clip loads local files, and computes as in training."""
    import open_clip

    files = OpenClip.needs(model, pretrained)
    if files is None:
        if model.startswith("local-dir:"):
            return model, {}
        quick_gelu = _is_torchscript(Path(pretrained))
        return model, {"pretrained": pretrained, "force_quick_gelu": quick_gelu}
    weights = files.require()
    if model.startswith("hf-hub:"):
        return f"local-dir:{weights.parent}", {}
    tag = open_clip.get_pretrained_cfg(model, pretrained)
    # With a file, open_clip applies neither the tag's preprocessing nor its activation.
    keys = ("mean", "std", "interpolation", "resize_mode")
    options = {f"image_{key}": tag[key] for key in keys if key in tag}
    options["force_quick_gelu"] = bool(tag.get("quick_gelu"))
    return model, {"pretrained": str(weights), **options}


def _architecture(name: str, force_quick_gelu: bool) -> dict[str, object]:
    """What the weights do not say, such as the activation and the number of heads."""
    import open_clip

    if name.startswith("local-dir:"):
        file = Path(name.removeprefix("local-dir:")) / "open_clip_config.json"
        config = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
    else:
        config = open_clip.get_model_config(name)
    towers = {key: json.dumps(config[f"{key}_cfg"], sort_keys=True) for key in ("vision", "text")}
    return {**towers, "quick_gelu": force_quick_gelu or bool(config.get("quick_gelu"))}


def _is_torchscript(file: Path) -> bool:
    """Whether a checkpoint is TorchScript, as only OpenAI's are; those need QuickGELU."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("constants.pkl") for name in archive.namelist())
