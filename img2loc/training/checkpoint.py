"""Training that survives a kill: one process a folder, a checkpoint that is whole or absent, and the plan that it belongs to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from img2loc.core.errors import ConfigError, first_line
from img2loc.core.files import replacing, write_bytes
from img2loc.core.spelling import american
from img2loc.core.workspace import Workspace, plain

CHECKPOINT = "training.pt"
HISTORY = "history.jsonl"
_OF_A_MODEL = ("config.json", "*.safetensors", "*.bin", "*.pth", "*.pt")


@contextmanager
def claimed(folder: Path, start: str = "") -> Iterator[None]:
    """Hold a folder for one training, which starts from the weights `start`; make it if need be.

    Raises ConfigError where another process trains into it, where it holds a model that is not of
    our training, and where it cannot be written, now or in the block.
    """
    workspace = _workspace(folder)
    with workspace.disk_errors():
        if start and folder.exists() and Path(start).exists() and folder.samefile(start):
            raise ConfigError(
                f"{folder} holds the weights that the training starts from. Choose another --out."
            )
        foreign = sorted(path.name for pattern in _OF_A_MODEL for path in folder.glob(pattern))
        if foreign and not (folder / CHECKPOINT).exists():
            raise ConfigError(
                f"{folder} holds a model that no training here has made ({foreign[0]}, and no"
                f" {CHECKPOINT}), which would be overwritten. Choose another --out."
            )
    with workspace.locked():
        yield


def save(folder: Path, plan: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all.

    `plan` holds what JSON can; `state` holds tensors and plain values.
    """
    import torch

    with replacing(folder / CHECKPOINT) as draft, draft.open("wb") as file:
        torch.save({"plan": plain(plan), "state": dict(state)}, file)


def resume(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the folder's last checkpoint, on the CPU; None where there is none yet.

    Raises ConfigError, naming what differs, where it belongs to another plan, and where it cannot
    be read.
    """
    import torch

    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        content = american(torch.load(path, map_location="cpu", weights_only=True))
        before, state = content["plan"], content["state"]
    except Exception as error:  # A damaged file can make torch raise anything.
        raise ConfigError(
            f"{path} cannot be read ({first_line(error)}). Delete {folder} to train from the"
            " beginning."
        ) from error
    _workspace(folder).require_same(before, plan)
    return dict(state)


def refuse_fewer(folder: Path, done: int, epochs: int) -> None:
    """Raise ConfigError where a folder's training has more epochs behind it than are asked for."""
    if done > epochs:
        raise ConfigError(
            f"{folder} holds a training of {done} epochs already, more than {epochs}. "
            "Ask for as many or more, or choose another --out."
        )


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.jsonl`, one line an epoch, whole or not at all: after a kill it never tells more than the checkpoint."""
    write_bytes(
        folder / HISTORY,
        "".join(json.dumps(epoch, ensure_ascii=False) + "\n" for epoch in history).encode(),
    )


def _workspace(folder: Path) -> Workspace:
    return Workspace(folder, "model", ConfigError)
