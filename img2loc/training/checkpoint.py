"""Epochs that survive a kill: folder lock, checkpoints of one plan, history, divergence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from img2loc.core.american_spelling import american
from img2loc.core.errors import ConfigError, first_line
from img2loc.core.files import replacing, write_bytes
from img2loc.core.workspace import Workspace, plain

CHECKPOINT = "training.pt"
HISTORY = "history.jsonl"
_OF_A_MODEL = ("config.json", "*.safetensors", "*.bin", "*.pth", "*.pt")


class Training(Protocol):
    """A model in training, as `run_epochs` drives it."""

    remedy: str
    """What the user can do when the loss is NaN or infinite."""

    def learning_rate(self, epoch: int) -> float:
        """That of an epoch, counted from 0."""

    def epoch(self, epoch: int) -> dict[str, Any] | None:
        """Train for one epoch; its record, or None where loss or weights are NaN or infinite.

        What is random in it depends on the seed and the epoch's number alone.
        """

    def state(self) -> dict[str, Any]:
        """Tensors and plain values from which a later process goes on."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Raises ConfigError where it does not fit."""

    def save(self, folder: Path, finished: bool) -> None:
        """Write the model as an encoder's weights."""


def run_epochs(
    folder: Path,
    plan: Mapping[str, Any],
    state: Mapping[str, Any] | None,
    training: Training,
    epochs: int,
) -> list[dict[str, Any]]:
    """Train up to so many epochs, from a checkpoint's state if any; returns every epoch's record.

    After each epoch the folder gets a checkpoint, the history and the model. Raises ConfigError
    where the training diverges (the last checkpoint stays) or has more epochs already.
    """
    history: list[dict[str, Any]] = []
    if state is not None:
        history = list(state["history"])
        if len(history) > epochs:
            raise ConfigError(
                f"{folder} holds a training of {len(history)} epochs already, more than {epochs}. "
                "Ask for as many or more, or choose another --out."
            )
        training.restore(state)
        # A kill may have come between the checkpoint and these.
        write_history(folder, history)
        training.save(folder, len(history) == epochs)
    for epoch in range(len(history), epochs):
        record = training.epoch(epoch)
        if record is None:
            raise ConfigError(
                f"The training diverged: in epoch {epoch + 1}, at a learning rate of"
                f" {training.learning_rate(epoch):g}, the loss became NaN or infinite."
                f" {training.remedy} The epochs before it are kept."
            )
        history.append(record)
        save(folder, plan, {**training.state(), "history": history})
        write_history(folder, history)
        training.save(folder, len(history) == epochs)
    return history


@contextmanager
def claimed(folder: Path, start: str = "") -> Iterator[None]:
    """Lock a folder for one training, which starts from the weights `start`; create it if needed.

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


def write_history(folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write `history.jsonl` as a whole, a line an epoch: it is never ahead of the checkpoint."""
    lines = [json.dumps(epoch, ensure_ascii=False) + "\n" for epoch in history]
    write_bytes(folder / HISTORY, "".join(lines).encode())


def _workspace(folder: Path) -> Workspace:
    return Workspace(folder, "model", ConfigError)
