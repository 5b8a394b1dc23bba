"""CLIP, StreetCLIP, SigLIP and the like through transformers, from a hub id or a folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from img2loc.core.errors import ConfigError, MissingWeights
from img2loc.core.hub import HubFiles, folder_or_hub
from img2loc.encoders.batched_encoder import loading
from img2loc.encoders.preprocessing import Preprocessing
from img2loc.encoders.preprocessing_of import processor_steps
from img2loc.encoders.torch_encoder import TextTower, TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


class TransformersClip(TorchEncoder, TextTower):
    """The projected image and text features of a CLIP-like model in transformers' format.

    `model` is a folder or a hub id whose files are in the cache. Images go through the model's own
    processor, by default in its Pillow form, with which the published results were computed.
    transformers' default is now "torchvision", as in the package geoclip: it differs by up to 0.03
    a normalized pixel (40 photographs). Raises MissingWeights where weights are missing in whole or
    in part, ConfigError where there is no image tower.
    """

    def __init__(
        self,
        model: str,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        processor: Literal["pil", "torchvision"] = "pil",
    ) -> None:
        super().__init__("transformers", device, dtype, batch_size)
        import torch
        from PIL import Image
        from transformers import AutoImageProcessor, AutoModel

        files = self.needs(model)
        folder = Path(model) if files is None else files.require().parent
        with loading(f"transformers cannot load {model!r}"):
            self._processor = AutoImageProcessor.from_pretrained(
                folder, backend=processor, trust_remote_code=False
            )
            network, info = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        if missing := sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"])):
            raise MissingWeights(
                f"{model!r} lacks {len(missing)} of its weights ({missing[0]} …)."
                " Fetch the files again."
            )
        if not hasattr(network, "get_image_features"):
            raise ConfigError(
                f"{model!r} is a {type(network).__name__}, which has no image features."
                " Name a CLIP-like model."
            )
        self._folder = folder
        self._siglip = str(network.config.model_type).startswith("siglip")
        if (logit_scale := getattr(network, "logit_scale", None)) is not None:
            self.scale = float(logit_scale.detach().exp())
        probe = self.prepare(Image.new("RGB", (64, 64), "grey"))
        self._model = network.eval()
        with torch.inference_mode():
            dim = int(self.features(probe[None]).shape[-1])
        preprocessing = {**_preprocessing(self._processor), **_architecture(folder)}
        self._adopt(network, dim, int(probe.shape[-1]), preprocessing)

    @classmethod
    def needs(cls, model: str, **_: object) -> HubFiles | None:
        """What it takes from a hub; None for a local folder. Raises ConfigError."""
        return folder_or_hub(model, ("model.safetensors", "pytorch_model.bin"), ("*.json", "*.txt"))

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        pixels: torch.Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def preprocessing(self) -> Preprocessing:
        """What the processor does in its Pillow form; that of "torchvision" differs slightly."""
        return processor_steps(self._processor)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs → features."""
        return _projected(self._model.get_image_features(pixel_values=pixels))  # type: ignore[operator]

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """A batch of texts → features. Raises MissingWeights where there is no tokenizer."""
        text_config = getattr(self._model.config, "text_config", None)
        longest = getattr(text_config, "max_position_embeddings", None)
        # SigLIP pools at the last position and was trained with padding up to it; CLIP pools at
        # the end-of-text token.
        padding = "max_length" if self._siglip else "longest"
        tokens = self._tokenizer(
            list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt"
        )
        return _projected(self._model.get_text_features(**tokens.to(self.device)))  # type: ignore[operator]

    @property
    def network(self) -> torch.nn.Module:
        """The model itself, for training."""
        return self._model

    def save(self, folder: Path) -> None:
        """Write model, image processor and tokenizer: `model` can then name the folder."""
        for part in (self._processor, self._tokenizer, self._model):  # The weights last.
            part.save_pretrained(folder)  # type: ignore[operator]

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        # Without the files transformers silently makes a tokenizer with an empty vocabulary.
        if not any((self._folder / name).is_file() for name in _TOKENIZERS):
            raise MissingWeights(
                f"{self._folder} has no tokenizer ({' or '.join(_TOKENIZERS)})."
                " Fetch the files again."
            )
        with loading(f"The tokenizer in {self._folder} cannot be read; fetch the files again"):
            return AutoTokenizer.from_pretrained(self._folder, trust_remote_code=False)


def _projected(output: Any) -> torch.Tensor:
    # transformers 5 returns an output object whose pooler_output is already projected.
    features: torch.Tensor = getattr(output, "pooler_output", output)
    return features


def _preprocessing(processor: Any) -> dict[str, object]:
    """What the processor does to pixels, by the keys that every version of transformers has."""
    keys = ["size", "crop_size", "resample", "do_resize", "do_center_crop", "rescale_factor"]
    keys += ["do_normalize", "image_mean", "image_std"]
    settings = processor.to_dict()
    values = {key: json.dumps(settings.get(key), default=int) for key in keys}
    return {"backend": processor.backend, **values}


def _architecture(folder: Path) -> dict[str, object]:
    """What the weights do not say, such as the activation and the number of heads."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    ignored = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
    described = {"model_type": config.get("model_type")}
    for tower in ("vision", "text"):
        parts = config.get(f"{tower}_config") or {}
        kept = {key: value for key, value in parts.items() if key not in ignored}
        described[tower] = json.dumps(kept, sort_keys=True)
    digest = hashlib.sha256()
    for name in _TOKENIZERS:
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return {**described, "tokenizer": digest.hexdigest()}
