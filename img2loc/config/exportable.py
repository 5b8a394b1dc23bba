"""An encoder's name → the torch image tower that can be exported, on the processor in float32."""

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.registry import parameters_of, resolve
from img2loc.core.errors import ConfigError
from img2loc.encoders.torch_encoder import TorchEncoder


def exportable(config: Config, name: str) -> TorchEncoder:
    """The encoder [encoder.name], computing as its ONNX file will. Raises ConfigError and its like.

    The configuration is changed for this: the encoder, and the one inside it, are in float32.
    """
    inside: str | None = name
    while inside is not None:
        make, arguments = resolve("encoder", inside, config.table("encoder", inside))
        if "dtype" in parameters_of(make):
            config.override("encoder", inside, {"dtype": "float32"}, "encoder export")
        following = arguments.get("encoder")
        inside = following if following != inside else None  # `factory` refuses the latter.
    encoder = factory.encoder(config, name, "cpu")
    if not isinstance(encoder, TorchEncoder):
        raise ConfigError(
            f"[encoder.{name}] is not run by torch, so there is nothing to export. Name one of the"
            " kinds open_clip, transformers, timm or geoclip."
        )
    return encoder
