"""A library's image transform → the same steps as a `Preprocessing`, for an export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from img2loc.core.errors import ConfigError
from img2loc.encoders.preprocessing import Preprocessing

_CONVERSIONS = {"ToTensor", "MaybeToTensor", "MaybeConvertMode", "function"}
_TO_8_BITS = 255.0


def transform_steps(transform: Any) -> Preprocessing:
    """The steps of a torchvision Compose, as open_clip and timm make them. Raises ConfigError."""
    steps = {type(step).__name__: step for step in transform.transforms}
    if (
        not {"Resize", "Normalize"}
        <= set(steps)
        <= {"Resize", "CenterCrop", "Normalize"} | _CONVERSIONS
    ):
        raise _unknown(transform)
    resized = _sides(steps["Resize"].size)
    cropped = _sides(steps["CenterCrop"].size) if "CenterCrop" in steps else resized
    normalize = steps["Normalize"]
    return _checked(
        transform,
        resized,
        cropped,
        interpolation=steps["Resize"].interpolation.value,
        longer_side="down",
        crop_offset="nearest",
        mean=tuple(float(value) * _TO_8_BITS for value in normalize.mean),
        std=tuple(float(value) * _TO_8_BITS for value in normalize.std),
    )


def processor_steps(processor: Any) -> Preprocessing:
    """The steps of an image processor of transformers, in its Pillow form. Raises ConfigError."""
    from PIL.Image import Resampling

    facts = processor.to_dict()
    if not facts.get("do_resize") or not facts.get("do_normalize") or facts.get("do_pad"):
        raise _unknown(processor)
    resized = _edges(facts["size"])
    cropped = _edges(facts["crop_size"]) if facts.get("do_center_crop") else resized
    factor = float(facts["rescale_factor"]) if facts.get("do_rescale") else 1.0
    return _checked(
        processor,
        resized,
        cropped,
        interpolation=Resampling(int(facts["resample"])).name.lower(),
        longer_side="down",
        crop_offset="down",
        mean=tuple(float(value) / factor for value in facts["image_mean"]),
        std=tuple(float(value) / factor for value in facts["image_std"]),
    )


def _checked(
    source: Any, resized: Sequence[int], cropped: Sequence[int], **steps: Any
) -> Preprocessing:
    """One side in `resized` is the shorter one; two are height and width, as in `cropped`."""
    square = len(cropped) == 2 and cropped[0] == cropped[1]
    if not square or (len(resized) == 2 and list(resized) != list(cropped)):
        raise _unknown(source)
    resize: Any = resized[0] if len(resized) == 1 else "squash"
    try:
        return Preprocessing(size=cropped[0], resize=resize, **steps)
    except ValueError as error:
        raise _unknown(source) from error


def _sides(size: Any) -> list[int]:
    return [size] if isinstance(size, int) else list(size)


def _edges(size: Mapping[str, Any]) -> list[int]:
    """The form of transformers: {"shortest_edge"} or {"height", "width"}; [] for another."""
    known = {key: value for key, value in size.items() if value is not None}
    if set(known) == {"shortest_edge"}:
        return [known["shortest_edge"]]
    return [known["height"], known["width"]] if set(known) == {"height", "width"} else []


def _unknown(source: Any) -> ConfigError:
    words = " ".join(str(source).split())
    return ConfigError(
        f"The preprocessing {words[:300]} is not a resize, a centre crop to a square and a"
        " normalization, which an ONNX encoder can repeat. Use the encoder as it is."
    )
