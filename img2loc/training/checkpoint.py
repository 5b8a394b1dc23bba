"""Training that survives a kill: one process a folder, a checkpoint that is whole or absent, and the plan that it belongs to."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from img2loc.errors import ConfigError, first_line

CHECKPOINT = "training.pt"
HISTORY = "history.jsonl"
_OF_A_MODEL = ("config.json", "*.safetensors", "*.bin", "*.pth", "*.pt")


@contextmanager
def claimed(folder: Path, start: str = "") -> Iterator[None]:
    """Hold a folder for one training, which starts from the weights `start`; make it if need be.

    Raises ConfigError where another process trains into it, and where it holds a model that is not of our training.
    """
    try:
        if start and folder.exists() and Path(start).exists() and folder.samefile(start):
            raise ConfigError(f"{folder} holds the weights that the training starts from. Choose another --out.")
        foreign = sorted(path.name for pattern in _OF_A_MODEL for path in folder.glob(pattern))
        if foreign and not (folder / CHECKPOINT).exists():
            raise ConfigError(
                f"{folder} holds a model that no training here has made ({foreign[0]}, and no {CHECKPOINT}), which would be "
                "overwritten. Choose another --out."
            )
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ConfigError(f"Another process is training into {folder}. Wait for it, or choose another --out.") from error
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error.strerror or error}). Choose another --out.") from error
    try:
        yield
    finally:
        lock.release()


def save(folder: Path, plan: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Write a checkpoint whole or not at all. `plan` holds what JSON can; `state` holds tensors and plain values."""
    import torch

    draft = folder / f"{CHECKPOINT}.tmp"
    with draft.open("wb") as file:
        torch.save({"plan": _plain(plan), "state": dict(state)}, file)
        file.flush()
        os.fsync(file.fileno())  # Else a power cut can leave the new name with nothing in it.
    draft.replace(folder / CHECKPOINT)


def resume(folder: Path, plan: Mapping[str, Any]) -> dict[str, Any] | None:
    """The state of the folder's last checkpoint, on the CPU; None where there is none yet.

    Raises ConfigError, naming what differs, where it belongs to another plan, and where it cannot be read.
    """
    import torch

    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        before, state = content["plan"], content["state"]
    except Exception as error:  # A damaged file can make torch raise anything.
        raise ConfigError(f"{path} cannot be read ({first_line(error)}). Delete {folder} to train from the beginning.") from error
    now = _plain(plan)
    changed = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if changed:
        told = "; ".join(f"{key} is {_told(before, key)} there and {_told(now, key)} now" for key in changed)
        raise ConfigError(f"{folder} holds another training: {told}. Choose another --out, or delete that folder.")
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
    draft = folder / f"{HISTORY}.tmp"
    draft.write_text("".join(json.dumps(epoch, ensure_ascii=False) + "\n" for epoch in history), encoding="utf-8")
    draft.replace(folder / HISTORY)


def _plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """The plan as JSON gives it back, so that a tuple equals the list that it becomes."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(plan), default=str))
    return plain


def _told(plan: Mapping[str, Any], key: str) -> str:
    return json.dumps(plan[key], ensure_ascii=False) if key in plan else "not set"
