"""Torch's device and precision: what "auto" stands for on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from img2loc.core.errors import ConfigError, first_line

if TYPE_CHECKING:
    import torch

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_DTYPES |= {name: name for name in _DTYPES.values()}


def resolve_device(device: str) -> str:
    """The device that "auto" stands for, or the given one. Raises ConfigError for a missing one."""
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"The device {device!r} cannot be used here ({first_line(error)}). "
            "Use auto, cpu, cuda, cuda:N (the GPU of that number) or mps (Apple's GPU)."
        ) from error
    return device


def resolve_dtype(dtype: str, device: str) -> torch.dtype:
    """The precision that "auto" stands for on a device, or the named one. Raises ConfigError."""
    import torch

    if dtype != "auto":
        if dtype not in _DTYPES:
            raise ConfigError(f"There is no dtype {dtype!r}. Known: auto, {', '.join(_DTYPES)}.")
        chosen: torch.dtype = getattr(torch, _DTYPES[dtype])
        return chosen
    if device.startswith("cuda"):
        with torch.cuda.device(device):
            # Cards before Ampere (T4, V100) only emulate bfloat16, slowly.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    if device == "cpu":
        capabilities = (
            torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        )
        if any(capabilities.get(feature) for feature in ("amx_bf16", "avx512_bf16", "bf16")):
            return torch.bfloat16
    # On mps too: there bfloat16 needs macOS 14 or later, and float16 overflows in some towers.
    return torch.float32
