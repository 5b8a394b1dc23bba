"""Locks a folder or file for one process and one plan, and turns disk errors into messages."""

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from img2loc.core.errors import Img2LocError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_LITTLE = 1 << 20  # Bytes.


@dataclass(frozen=True, slots=True)
class Workspace:
    """A folder, or a file in it, for one process and one plan: the same is resumed, others refused.

    Messages call it a `noun` and are raised as `error`; `remedy` is how to choose another place.
    """

    folder: Path
    noun: str
    error: type[Img2LocError]
    remedy: str = "choose another --out"
    file: str = ""

    @property
    def path(self) -> Path:
        """The folder, or the file in it."""
        return self.folder / self.file

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and lock it.

        Raises `error` where another process has, and for every OSError in the block.
        """
        with self.disk_errors():
            self.folder.mkdir(parents=True, exist_ok=True)
            file = self.folder / (f".{self.file}.lock" if self.file else ".lock")
            try:
                lock = FileLock(file).acquire(timeout=0)
            except Timeout as error:
                raise self.error(
                    f"Another process is writing the {self.noun} {self.path}. Wait for it, or"
                    f" {self.remedy}."
                ) from error
            except NotImplementedError as error:
                raise OSError("its disk has no file locks, which writing here needs") from error
            with lock:
                yield

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Raise `error` for every OSError in the block."""
        try:
            yield
        except ConnectionError:
            raise  # A pipe's or a server's, and not the disk's.
        except OSError as error:
            # Some libraries give no errno.
            free = shutil.disk_usage(self.folder).free if error.errno is None else _LITTLE
            if error.errno in _FULL or free < _LITTLE:
                raise self.error(
                    f"The disk of {self.path} is full. Make room there and run the same command"
                    " again: what is done is kept."
                ) from error
            raise self.error(
                f"The {self.noun} {self.path} cannot be written ({error.strerror or error}). Mend"
                f" that, or {self.remedy}."
            ) from error

    def read_note(self, name: str) -> dict[str, Any] | None:
        """The JSON object in a file of the folder, None without one. Raises `error`."""
        try:
            note = json.loads((self.folder / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError):
            note = None
        if not isinstance(note, dict):
            raise self.error(
                f"{self.folder / name} cannot be read. Restore it, {self.remedy}, or delete"
                f" {self.path}."
            )
        return note

    def require_same(self, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Raise `error`, naming what differs, unless two plans are the same."""
        there, here = plain(before), plain(now)
        changed = sorted(key for key in {*there, *here} if there.get(key) != here.get(key))
        if changed:
            differences = "; ".join(
                f"{key} is {_value(there, key)} there and {_value(here, key)} now"
                for key in changed[:5]
            )
            raise self.error(
                f"The {self.noun} {self.path} was begun differently: {differences}. Run the first"
                f" command again, {self.remedy}, or delete"
                f" {self.path}{' and the .json beside it' if self.file else ''}."
            )


def plain(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as it is after JSON, where a tuple is a list."""
    content: dict[str, Any] = json.loads(json.dumps(dict(plan), default=str))
    return content


def _value(plan: Mapping[str, Any], key: str) -> str:
    text = json.dumps(plan[key], ensure_ascii=False) if key in plan else "not set"
    return text if len(text) <= 60 else f"{text[:59]}…"
