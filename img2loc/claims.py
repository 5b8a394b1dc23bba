"""One process at a time works on a gallery's folder, on one plan, and what goes wrong with the disk is a sentence."""

import errno
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from img2loc.errors import GalleryError, first_line
from img2loc.manifest import MANIFEST, PLAN, read_manifest, read_plan, write_json

_FULL = (errno.ENOSPC, errno.EDQUOT)
_HARDLY_ANY = 1 << 20  # Bytes.


@contextmanager
def working_on(folder: Path) -> Iterator[None]:
    """Make the folder, and keep others from building in it. Raises GalleryError for another builder, or a disk that is full."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock", timeout=0)
        _acquire(lock, folder)
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        # Some libraries say that writing failed, and not why.
        if error.errno in _FULL or (error.errno is None and shutil.disk_usage(folder).free < _HARDLY_ANY):
            raise GalleryError(
                f"The disk of {folder} is full. Make room on it and run the same command again: what is done is kept."
            ) from error
        raise GalleryError(
            f"The gallery {folder} cannot be written ({error.strerror or error}). Choose another --out."
        ) from error


def _acquire(lock: BaseFileLock, folder: Path) -> None:
    try:
        lock.acquire()
    except Timeout as error:
        raise GalleryError(f"Another process is building {folder}. Wait for it, or choose another --out.") from error
    except NotImplementedError as error:
        raise GalleryError(
            f"The disk of {folder} knows no locks ({first_line(error)}), so that two builds there could spoil one another. "
            "Choose an --out on another disk."
        ) from error


def claim(folder: Path, plan: Mapping[str, Any]) -> None:
    """Note what is being built here, or check that it is the same as before. Raises GalleryError."""
    before = read_plan(folder)
    if before is not None:
        changed = [key for key in {**plan, **_OPTIONAL} if before.get(key) != plan.get(key)]
        if changed:
            raise GalleryError(
                f"{folder} holds a gallery of another {' and '.join(changed)} "
                f"({before.get(changed[0])} there, {plan.get(changed[0])} now). Choose another --out, or delete that folder."
            )
        return
    if (folder / MANIFEST).exists():
        read_manifest(folder)
        raise GalleryError(f"{folder} already holds a gallery that was built elsewhere. Choose another --out.")
    if next((folder / "img_emb").glob("*.npy"), None):
        raise GalleryError(
            f"{folder} holds embeddings (img_emb/) that were made elsewhere and would be overwritten. Choose another --out; "
            "img2loc index import makes a gallery of them."
        )
    write_json(folder / PLAN, plan)


_OPTIONAL = {"of": None, "part": None, "views": None}
"""Keys of a plan that are left out where nothing is said."""
