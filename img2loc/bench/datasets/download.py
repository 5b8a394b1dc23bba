"""A mirror's address → the truth file or the photographs of a benchmark, whole and checked."""

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
from typing import BinaryIO
from urllib.request import Request, urlopen

from img2loc.bench.datasets.benchmark import Benchmark, Mirror, rows_sha256
from img2loc.core.errors import SourceError, first_line
from img2loc.core.files import replacing

CHUNK = 1 << 20
TIMEOUT = 60.0
"""Seconds without a byte after which a server is given up, and over which SLOWEST is measured."""
SLOWEST = 1000
"""Bytes a second."""
RESERVE = 1 << 30
"""Bytes that a download leaves free on the disk, for a server that sends without end."""
Progress = Callable[[int, int | None], None]

_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO),
    *(errno.EMFILE, errno.ENFILE, errno.EFBIG),
}
"""What the disk may say of a sound archive."""
# RuntimeError is a zip with a password, or (a subclass of it) an unknown compression.
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, lzma.LZMAError),
    *(RuntimeError, OSError),
)


class FetchError(SourceError):
    """A mirror did not give what it should."""


def fetch(
    url: str, file: Path, sha256: str = "", progress: Progress = lambda done, total: None
) -> None:
    """Download a file, whole or not at all.

    `progress` is called with the bytes received and how many there will be. Raises FetchError, also
    where the bytes do not have the checksum `sha256`.
    """
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url} is no web address: it must begin with http:// or https://.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        request = Request(url, headers={"User-Agent": "img2loc"})
        with replacing(file, ".part") as draft:
            with urlopen(request, timeout=TIMEOUT) as answer, draft.open("wb") as sink:
                received = _receive(answer, sink, file.parent, progress)
            if sha256 not in ("", received):
                raise FetchError(
                    f"{url} is not the file that was expected: its SHA-256 is {received}, not"
                    f" {sha256}. It was deleted."
                )
    except (HTTPException, OSError, ValueError) as error:
        raise FetchError(
            f"{url} cannot be downloaded ({first_line(error)}). Run the command again, or try"
            " another mirror with --from."
        ) from error


def fetch_truth(
    benchmark: Benchmark, mirror: Mirror, progress: Progress = lambda done, total: None
) -> Path:
    """Download a benchmark's truth file into its folder, if its rows are those of the recipe.

    Raises FetchError.
    """
    file = benchmark.home / "truth.csv"
    draft = file.with_name("truth-unchecked.csv")
    fetch(mirror.url, draft, mirror.sha256, progress)
    try:
        rows, _ = replace(benchmark, truth=draft).load()
        warnings = benchmark.warnings(rows)
    except SourceError as error:
        rows, warnings = [], [str(error)]
    if warnings:
        draft.unlink()
        raise FetchError(
            f"{mirror.url}: {warnings[0]} SHA-256 of its rows: {rows_sha256(rows)}. It was deleted."
        )
    draft.replace(file)
    return file


def fetch_photos(
    benchmark: Benchmark, mirror: Mirror, progress: Progress = lambda done, total: None
) -> Path:
    """Download an archive of a benchmark's photographs and unpack it into its folder.

    Raises FetchError where the archive is damaged, and SourceError where the disk cannot take what
    is in it: then the archive is kept.
    """
    archive = benchmark.home / "photos.archive"
    folder, draft = benchmark.home / "photos", benchmark.home / "photos.unpacking"
    if folder.exists():
        raise FetchError(f"{folder} exists already. Delete it to fetch the photos again.")
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
    """Unpack a tar (of any compression) or a zip; nothing is written outside the folder.

    Raises FetchError for what is no archive or a damaged one, SourceError where the disk refuses.
    """
    try:
        if tarfile.is_tarfile(archive):
            with tarfile.open(archive) as tar:
                tar.extractall(folder, filter="data")
                while tar.fileobj is not None and tar.fileobj.read(CHUNK):
                    pass  # The checksum of a compressed file stands at its end.
        elif zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(folder)
        else:
            raise FetchError(
                f"{archive} is neither a tar nor a zip: perhaps a web page. It was deleted."
            )
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
            raise SourceError(
                f"{archive} cannot be unpacked into {folder} ({error.strerror}). Make room there,"
                " or mend its rights; the archive is kept, and the same command unpacks it."
            ) from error
        raise FetchError(
            f"{archive} cannot be unpacked ({first_line(error)}). It was deleted."
        ) from error


def _receive(answer: HTTPResponse, sink: BinaryIO, folder: Path, progress: Progress) -> str:
    """Write an answer's body to `sink`; its SHA-256 in hex."""
    length = answer.headers.get("Content-Length")
    total = int(length) if length else None
    digest = hashlib.sha256()
    done, before, since = 0, 0, time.monotonic()
    while chunk := answer.read1(CHUNK):
        sink.write(chunk)
        digest.update(chunk)
        done += len(chunk)
        progress(done, total)
        if shutil.disk_usage(folder).free < RESERVE:
            raise OSError(f"the disk has less than {RESERVE:,} bytes free after {done:,} bytes")
        if time.monotonic() - since > TIMEOUT:
            if done - before < SLOWEST * TIMEOUT:
                raise OSError(f"only {done - before:,} bytes came in {TIMEOUT:g} s")
            before, since = done, time.monotonic()
    if total is not None and done < total:
        raise OSError(f"the connection broke after {done:,} of {total:,} bytes")
    return digest.hexdigest()
