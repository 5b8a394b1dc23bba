"""CLIP-like models through transformers:

`openai/clip-vit-large-patch14`, StreetCLIP, SigLIP; a hub id or a folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from img2loc.core.errors import ConfigError, MissingWeights, first_line
from img2loc.core.hub import HubFiles, folder_or_hub
from img2loc.encoders.torch_encoder import TextTower, TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_TOKENIZERS = ("tokenizer.json", "vocab.json", "spiece.model", "tokenizer.model")


class TransformersClip(TorchEncoder, TextTower):
    """The projected image features, and text features, of a CLIP-like model in transformers' format.

    `model` is a folder or a hub id whose files are in the cache. Images go through the model's own
    processor, by default in its Pillow form, which the published numbers were made with;
    transformers' own default is "torchvision" now, which differs from it by up to 0.03 a normalised
    pixel (40 photographs), and which the package geoclip therefore uses. Raises MissingWeights
    where weights are missing in whole or in part, ConfigError where there is no image tower.
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
        from transformers import AutoImageProcessor, AutoModel

        files = self.needs(model)
        folder = Path(model) if files is None else files.require().parent
        try:
            self._processor = AutoImageProcessor.from_pretrained(
                folder, backend=processor, trust_remote_code=False
            )
            network, loading = AutoModel.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
            )
        except Exception as error:  # A torn file can make the loaders raise anything.
            raise MissingWeights(
                f"transformers cannot load {model!r}: {first_line(error)}"
            ) from error
        if missing := sorted(loading["missing_keys"]) + sorted(
            str(key) for key in loading["mismatched_keys"]
        ):
            raise MissingWeights(
                f"{model!r} lacks {len(missing)} of its weights ({missing[0]} …). Fetch the files"
                " again."
            )
        if not hasattr(network, "get_image_features"):
            raise ConfigError(
                f"{model!r} is a {type(network).__name__}, which has no image features. Name a"
                " CLIP-like model."
            )
        self._folder = folder
        self._siglip = str(network.config.model_type).startswith("siglip")
        self._adopt_clip(network, folder)

    def _adopt_clip(self, network: torch.nn.Module, folder: Path) -> None:
        import torch

        if (logit_scale := getattr(network, "logit_scale", None)) is not None:
            self.scale = float(logit_scale.detach().exp())
        probe = self.prepare(_grey_image())
        self._model = network.eval()
        with torch.inference_mode():
            dim = int(self.features(probe[None]).shape[-1])
        self._model = self._adopt(
            network,
            dim,
            int(probe.shape[-1]),
            {**_preprocessing(self._processor), **_architecture(folder)},
        )

    @classmethod
    def needs(cls, model: str, **_: object) -> HubFiles | None:
        """What it takes from a hub, or None for a local folder.

        Raises ConfigError for a folder that is not there.
        """
        return folder_or_hub(model, ("model.safetensors", "pytorch_model.bin"), ("*.json", "*.txt"))

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        pixels: torch.Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """A batch of inputs → features."""
        return _projected(self._model.get_image_features(pixel_values=pixels))  # type: ignore[operator]

    def text_features(self, texts: Sequence[str]) -> torch.Tensor:
        """A batch of texts → features. Raises MissingWeights where there is no tokenizer."""
        longest = getattr(
            getattr(self._model.config, "text_config", None), "max_position_embeddings", None
        )
        # SigLIP reads a text's last place, and was trained with all places filled; CLIP looks for
        # the text's own end.
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
        """Write model, image processor and tokenizer as transformers reads them, so that `model` can name the folder."""
        for part in (self._processor, self._tokenizer, self._model):  # The weights last.
            part.save_pretrained(folder)  # type: ignore[operator]

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        # Without its files transformers makes up a tokenizer that knows no word, and says nothing.
        if not any((self._folder / name).is_file() for name in _TOKENIZERS):
            raise MissingWeights(
                f"{self._folder} has no tokenizer ({' or '.join(_TOKENIZERS)}). Fetch the files"
                " again."
            )
        try:
            return AutoTokenizer.from_pretrained(self._folder, trust_remote_code=False)
        except Exception as error:  # A torn file can make the loaders raise anything.
            raise MissingWeights(
                f"{self._folder} has no tokenizer that can be read ({first_line(error)}). Fetch the"
                " files again."
            ) from error


def _projected(output: Any) -> torch.Tensor:
    # transformers 5 returns an output object whose pooler_output is already projected.
    features: torch.Tensor = getattr(output, "pooler_output", output)
    return features


def _preprocessing(processor: Any) -> dict[str, object]:
    """What the processor does to pixels, without what changes from one version of transformers to the next."""
    keys = (
        "size",
        "crop_size",
        "resample",
        "do_resize",
        "do_center_crop",
        "rescale_factor",
        "do_normalize",
        "image_mean",
        "image_std",
    )
    settings = processor.to_dict()
    return {"backend": processor.backend} | {
        key: json.dumps(settings.get(key), default=int) for key in keys
    }


def _architecture(folder: Path) -> dict[str, object]:
    """What weights alone do not tell: the same ones compute something else with another activation or number of heads."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    passing = ("_name_or_path", "transformers_version", "torch_dtype", "dtype", "architectures")
    told = {"model_type": config.get("model_type")}
    for tower in ("vision", "text"):
        parts = config.get(f"{tower}_config") or {}
        told[tower] = json.dumps(
            {key: value for key, value in parts.items() if key not in passing}, sort_keys=True
        )
    digest = hashlib.sha256()
    for name in _TOKENIZERS:
        if (folder / name).is_file():
            digest.update((folder / name).read_bytes())
    return {**told, "tokenizer": digest.hexdigest()}


def _grey_image() -> Image:
    from PIL import Image

    return Image.new("RGB", (64, 64), "grey")
