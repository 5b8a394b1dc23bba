"""The checks of every training's settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from img2loc.core.errors import ConfigError


def check_settings(kind: str, settings: Any, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Raise ConfigError for the first key of [train.KIND] whose rule (holds, wording) is broken."""
    shared = {
        "seed": (settings.seed >= 0, "0 or more"),
        "device": (
            settings.device.partition(":")[0] != "meta",
            '"auto", "cpu", "cuda", "cuda:N" or "mps"',
        ),
    }
    numbers = {
        # To Python, true is a 1.
        field.name: (not isinstance(getattr(settings, field.name), bool), "a number")
        for field in fields(settings)
        if isinstance(field.default, int | float) and not isinstance(field.default, bool)
    }
    for key, (holds, rule) in [*numbers.items(), *shared.items(), *rules.items()]:
        if not holds:
            raise ConfigError(
                f"[train.{kind}] {key} = {getattr(settings, key)!r}: should be {rule}."
            )
