"""EfficientNet-Lite0 (Apache-2.0), which comes with img2loc and needs neither hub nor torch.

`make.py` made `model.onnx` and `encoder.json` from the authors' weights. Features: the 1280 pooled
activations before the classifier.
"""

from pathlib import Path

from img2loc.encoders.onnx import OnnxEncoder


class Lite0(OnnxEncoder):
    """EfficientNet-Lite0, 1280 dimensions, 14 MB, in float32 on every device.

    Its name is that of the torch model that it was made from, so that galleries by that one are its
    own: tests/encoders/test_lite0.py holds their vectors to a cosine of 0.9999. In batches of 8:
    larger ones are no faster on a CPU.
    """

    def __init__(self, device: str = "auto", batch_size: int = 8) -> None:
        super().__init__(str(Path(__file__).parent), device, batch_size)
        self._name = self.of[0]
