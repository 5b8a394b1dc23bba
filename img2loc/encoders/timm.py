"""Any timm backbone as an encoder: its pooled features, before the classifier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from img2loc.core.errors import ConfigError
from img2loc.core.hub import HubFiles
from img2loc.encoders.batched_encoder import loading
from img2loc.encoders.preprocessing import Preprocessing
from img2loc.encoders.preprocessing_of import transform_steps
from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


class Timm(TorchEncoder):
    """A timm backbone with the evaluation transform of its own configuration.

    `model` is a timm name ("vit_base_patch14_dinov2"), "hf-hub:org/repo" or "local-dir:FOLDER";
    `weights` a checkpoint file in place of the published ones. Raises MissingWeights rather than
    start from random ones.
    """

    def __init__(
        self,
        model: str,
        weights: str = "",
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
    ) -> None:
        super().__init__("timm", device, dtype, batch_size)
        import timm
        from timm.data import create_transform, resolve_model_data_config

        name, options = _resolve(model, weights)
        with loading(f"timm cannot load {model!r} with weights {weights!r}"):
            # With its classifier, so that timm checks every weight; without one, timm leaves what
            # is missing random.
            network = timm.create_model(name, pretrained=True, **options)
            network.reset_classifier(0)
        data = resolve_model_data_config(network)
        self._transform = create_transform(**data, is_training=False)
        architecture = {"architecture": network.pretrained_cfg.get("architecture")}
        size = int(data["input_size"][-1])
        self._adopt(network, int(network.num_features), size, {**data, **architecture})

    @classmethod
    def needs(cls, model: str, weights: str = "", **_: object) -> HubFiles | None:
        """What it takes from a hub; None where its weights are local. Raises ConfigError."""
        if model.startswith("hf-hub:"):
            return HubFiles(model.removeprefix("hf-hub:"), _WEIGHTS, ("config.json",))
        if weights and not Path(weights).is_file():
            raise ConfigError(f"There is no weights file {weights}.")
        if weights or model.startswith("local-dir:"):
            return None
        import timm

        known = timm.is_model(model.partition(".")[0])
        published = timm.get_pretrained_cfg(model) if known else None
        if published is None or not published.hf_hub_id:
            raise ConfigError(
                f"timm has no weights for {model!r}. `timm.list_pretrained()` names all it has."
            )
        return HubFiles(published.hf_hub_id, _WEIGHTS)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        pixels: torch.Tensor = self._transform(image)
        return pixels

    def preprocessing(self) -> Preprocessing:
        """What the transform does."""
        return transform_steps(self._transform)


def _resolve(model: str, weights: str) -> tuple[str, dict[str, Any]]:
    """The name and options by which timm loads local files only."""
    files = Timm.needs(model, weights)
    if files is None:
        return model, {"pretrained_cfg_overlay": {"file": weights}} if weights else {}
    file = files.require()
    if model.startswith("hf-hub:"):
        return f"local-dir:{file.parent}", {}
    return model, {"pretrained_cfg_overlay": {"file": str(file)}}
