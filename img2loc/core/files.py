"""Atomic writes: a file is written under another name and renamed, so it is whole or absent."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path, suffix: str = ".tmp") -> Iterator[Path]:
    """A draft's path, renamed to `path` when the block has written it without an error.

    `suffix` keeps the drafts of two processes apart where no lock does. Raises OSError.
    """
    draft = path.with_name(path.name + suffix)
    try:
        yield draft
        with draft.open("r+b") as file:
            os.fsync(file.fileno())  # Else a power cut can leave the new name with nothing in it.
        draft.replace(path)
    finally:
        with suppress(OSError):
            draft.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_bytes(path, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def shard_size(done: int) -> int:
    """Entries of the shard that starts at entry `done`: a sixteenth of those, 64 to 10,000.

    So a kill costs at most that share of the work, and millions of rows make hundreds of files.
    """
    return max(64, min(10_000, done // 16))
