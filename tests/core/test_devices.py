"""What "auto" stands for on machines with NVIDIA cards, by torch's own rule and made-up cards."""

from types import SimpleNamespace
from typing import Self

import pytest

from img2loc.core.devices import resolve_dtype


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """An A100 (compute capability 8.0) and a T4 (7.5), which emulates bfloat16."""
    import torch

    current = [0]

    class Device:
        def __init__(self, device: str) -> None:
            self._index = int(device.partition(":")[2] or current[0])

        def __enter__(self) -> Self:
            self._before, current[0] = current[0], self._index
            return self

        def __exit__(self, *_: object) -> None:
            current[0] = self._before

    def properties(index: int) -> SimpleNamespace:
        return SimpleNamespace(major=(8, 7)[index])

    monkeypatch.setattr(torch.cuda, "device", Device)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: current[0])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    monkeypatch.setattr(torch.cuda, "_check_bf16_tensor_supported", lambda device: True)


@pytest.mark.usefixtures("two_cards")
def test_older_cards_compute_in_float16_and_each_card_is_asked_itself() -> None:
    import torch

    assert resolve_dtype("auto", "cuda") == torch.bfloat16
    assert resolve_dtype("auto", "cuda:0") == torch.bfloat16
    assert resolve_dtype("auto", "cuda:1") == torch.float16
