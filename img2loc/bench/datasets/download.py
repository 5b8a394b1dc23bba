"""A mirror's address → the file, whole and checked; a download that was cut off goes on where it stopped."""

import errno
import hashlib
import lzma
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from img2loc.bench.datasets.benchmark import Benchmark, Mirror, rows_sha256
from img2loc.core.errors import SourceError, first_line

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a server is given up; also seconds with less than SLOWEST bytes in each."""
SLOWEST = 1000
RESERVE = 1 << 30
"""Bytes that a download leaves free on the disk, for a server that sends without end."""
Progress = Callable[[int, int | None], None]

_NOT_ITS_FAULT = {
    *(
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.EFBIG,
    ),
}
"""What the disk may say of a sound archive."""


class FetchError(SourceError):
    """A mirror did not give what it should."""


def fetch(
    url: str, file: Path, sha256: str = "", progress: Progress = lambda done, total: None
) -> None:
    """Download a file; `FILE.part` holds what came of it so far, and the next call goes on from there.

    The server's validator (ETag or Last-Modified) is kept beside it, so that two versions are never
    joined. `progress` is called with the bytes that are here and how many there will be. Raises
    FetchError, also where the bytes are not those of `sha256`: then they are deleted.
    """
    if not url.startswith(("http://", "https://")):
        raise FetchError(
            f"{url} is no address of a web server: it begins with neither http:// nor https://."
        )
    part, note = file.with_name(f"{file.name}.part"), file.with_name(f"{file.name}.part.validator")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        have = part.stat().st_size if part.exists() and note.exists() else 0
        headers = {"User-Agent": "img2loc"}
        if have:
            headers.update({"Range": f"bytes={have}-", "If-Range": note.read_text()})
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            _receive(answer, part, note, have, progress)
    except HTTPError as error:
        if error.code == 416:  # All of it was here already, or what was here is not of this file.
            _delete(part, note)
            raise FetchError(
                f"{url} has no such part; what was there is deleted. Run the same command again."
            ) from error
        raise FetchError(f"{url} cannot be had ({error.code} {error.reason}).") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        raise FetchError(
            f"{url} cannot be had ({first_line(error)}). The same command goes on where it stopped."
        ) from error
    if sha256 and (found := _sha256(part)) != sha256:
        _delete(part, note)
        raise FetchError(
            f"{url} is not the file that was expected: its SHA-256 is {found}, not {sha256}. It was"
            " deleted."
        )
    part.replace(file)
    note.unlink(missing_ok=True)


def fetch_truth(
    benchmark: Benchmark, mirror: Mirror, progress: Progress = lambda done, total: None
) -> Path:
    """Download a benchmark's truth file into its home, if its rows are those that the recipe knows.

    Raises FetchError.
    """
    file = benchmark.home / "truth.csv"
    draft = file.with_name("truth-unchecked.csv")
    fetch(mirror.url, draft, mirror.sha256, progress)
    try:
        rows, _ = replace(benchmark, truth=draft).load()
        doubts = benchmark.doubts(rows)
    except SourceError as error:
        doubts = [str(error)]
        rows = []
    if doubts:
        draft.unlink()
        raise FetchError(
            f"{mirror.url}: {doubts[0]} SHA-256 of its rows: {rows_sha256(rows)}. It was deleted."
        )
    draft.replace(file)
    return file


def fetch_photos(
    benchmark: Benchmark, mirror: Mirror, progress: Progress = lambda done, total: None
) -> Path:
    """Download an archive of a benchmark's photographs and unpack it into its home.

    Raises FetchError where the mirror does not give a sound archive, SourceError where there is no
    room for what is in it: then the archive is kept.
    """
    archive = benchmark.home / "photos.archive"
    folder, draft = benchmark.home / "photos", benchmark.home / "photos.unpacking"
    if folder.exists():
        raise FetchError(f"{folder} is there already. Delete it to fetch the photos again.")
    if not archive.exists():
        fetch(mirror.url, archive, mirror.sha256, progress)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        unpack(archive, draft)
    except SourceError as error:
        shutil.rmtree(draft, ignore_errors=True)
        if isinstance(error, FetchError):
            archive.unlink()
        raise
    draft.replace(folder)
    archive.unlink()
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar (of any compression) or a zip; nothing lands outside the folder.

    Raises FetchError for an archive that is damaged or none, SourceError where the folder cannot
    take what is in it.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
                while tar.fileobj is not None and tar.fileobj.read(CHUNK):
                    pass  # A compressed file tells at its end alone whether its checksum holds.
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
        else:
            raise FetchError(
                f"{archive} is neither a tar nor a zip: a web page in its place, perhaps. It was"
                " deleted."
            )
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno in _NOT_ITS_FAULT:
            raise SourceError(
                f"{archive} cannot be unpacked into {folder} ({error.strerror}). Make room there,"
                " or mend its rights; the archive is kept, and the same command unpacks it."
            ) from error
        raise FetchError(
            f"{archive} cannot be unpacked ({first_line(error)}). It was deleted."
        ) from error


# RuntimeError is a zip with a password, or (a subclass of it) one that is compressed in a way that
# Python does not know.
_DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    zlib.error,
    lzma.LZMAError,
    RuntimeError,
)


def _receive(answer: HTTPResponse, part: Path, note: Path, have: int, progress: Progress) -> None:
    resumed = answer.status == 206
    start = have if resumed else 0
    length = answer.headers.get("Content-Length")
    total = start + int(length) if length else None
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
    if validator and not validator.startswith("W/"):
        note.write_text(validator)
    else:
        note.unlink(missing_ok=True)
    before, since = start, time.monotonic()
    with part.open("ab" if resumed else "wb") as sink:
        while chunk := answer.read1(CHUNK):
            sink.write(chunk)
            start += len(chunk)
            progress(start, total)
            if shutil.disk_usage(part.parent).free < RESERVE:
                raise OSError(
                    f"the disk has less than {RESERVE:,} bytes left after {start:,} of"
                    f" {total or 'no announced length'}"
                )
            if time.monotonic() - since > TIMEOUT:
                if start - before < SLOWEST * TIMEOUT:
                    raise OSError(f"only {start - before:,} bytes came in {TIMEOUT:g} s")
                before, since = start, time.monotonic()
    if total is not None and start < total:
        raise OSError(f"the connection broke after {start:,} of {total:,} bytes")


def _delete(*files: Path) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
