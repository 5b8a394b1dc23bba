"""What the settings of every training have to hold to, and when one is given up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from img2loc.core.errors import ConfigError


def hold(kind: str, settings: Any, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Raise ConfigError for the first key of [train.KIND] whose rule, a truth and its words, does not hold."""
    of_all = {
        "seed": (settings.seed >= 0, "0 or more"),
        "device": (_computes(settings.device), '"auto", "cpu", "cuda", "cuda:N" or "mps"'),
    }
    booleans = {
        field.name: (
            not isinstance(getattr(settings, field.name), bool),
            "a number",
        )  # To Python, true is a 1.
        for field in fields(settings)
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    for key, (holds, rule) in [*booleans.items(), *of_all.items(), *rules.items()]:
        if not holds:
            raise ConfigError(
                f"[train.{kind}] {key} = {getattr(settings, key)!r}: should be {rule}."
            )


def diverged(epoch: int, lr: float, remedy: str) -> ConfigError:
    """What to raise where epoch `epoch`, counted from 0, gives numbers that are none."""
    return ConfigError(
        f"The training diverged: in epoch {epoch + 1}, at a learning rate of {lr:g}, the loss is no"
        f" finite number any more. {remedy} What the epochs before it came to is kept."
    )


def _computes(device: str) -> bool:
    return device.partition(":")[0] != "meta"
