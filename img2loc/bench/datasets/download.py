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
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from img2loc.bench.datasets.benchmark import Benchmark, Mirror, rows_sha256
from img2loc.core.errors import SourceError, first_line

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
    *(RuntimeError, KeyError, OSError),  # KeyError: a link to what is not in it.
)


class FetchError(SourceError):
    """A mirror did not give what it should."""


def fetch(
    url: str, file: Path, sha256: str = "", progress: Progress = lambda done, total: None
) -> None:
    """Download a file; FILE.part keeps what has come, and the next call resumes there.

    The server's validator (ETag or Last-Modified) lies beside it, so that two versions are never
    joined. `progress` is called with the bytes received and how many there will be. Raises
    FetchError, also where the bytes do not have the checksum `sha256`: then they are deleted.
    """
    if not url.startswith(("http://", "https://")):
        raise FetchError(f"{url} is no web address: it must begin with http:// or https://.")
    part, note = (file.with_name(file.name + end) for end in (".part", ".part.validator"))
    headers = {"User-Agent": "img2loc"}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if part.exists() and note.exists():
            headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": note.read_text()}
        with urlopen(Request(url, headers=headers), timeout=TIMEOUT) as answer:
            _receive(answer, part, note, progress)
    except (HTTPException, OSError, ValueError) as error:
        if isinstance(error, HTTPError) and error.code == 416:  # No such range: of another file.
            part.unlink(missing_ok=True)
        raise FetchError(
            f"{url} cannot be downloaded ({first_line(error)}). Run the command again, which"
            " resumes, or try another mirror with --from."
        ) from error
    with part.open("rb") as stream:
        received = hashlib.file_digest(stream, "sha256").hexdigest()
    note.unlink(missing_ok=True)
    if sha256 not in ("", received):
        part.unlink()
        raise FetchError(
            f"{url} is not the file that was expected: its SHA-256 is {received}, not {sha256}. It"
            " was deleted."
        )
    part.replace(file)


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
                _extract(tar, folder)
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


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Write a tar's files and hard links; what else is in it holds no photograph.

    Python before 3.11.4, as Debian 12 has it, cannot refuse names that lead out of the folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    inside = folder.resolve()
    for member in tar:
        if not (member.isfile() or member.islnk()):
            continue
        target = (inside / member.name).resolve()
        if not target.is_relative_to(inside):
            raise tarfile.ExtractError(f"{member.name!r} leads out of the folder")
        content = tar.extractfile(member)
        if content is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            with content, target.open("wb") as file:
                shutil.copyfileobj(content, file)


def _receive(answer: HTTPResponse, part: Path, note: Path, progress: Progress) -> None:
    """Write an answer's body to `part`, or append it where the server sends the rest only."""
    resumed = answer.status == 206
    done = part.stat().st_size if resumed else 0
    length = answer.headers.get("Content-Length")
    total = done + int(length) if length else None
    note.unlink(missing_ok=True)
    validator = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "W/"
    if not validator.startswith("W/"):  # A weak one does not tell versions apart.
        note.write_text(validator)
    before, since = done, time.monotonic()
    with part.open("ab" if resumed else "wb") as sink:
        while chunk := answer.read1(CHUNK):
            sink.write(chunk)
            done += len(chunk)
            progress(done, total)
            if shutil.disk_usage(part.parent).free < RESERVE:
                raise OSError(f"the disk has less than {RESERVE:,} bytes free after {done:,} bytes")
            if time.monotonic() - since > TIMEOUT:
                if done - before < SLOWEST * TIMEOUT:
                    raise OSError(f"only {done - before:,} bytes came in {TIMEOUT:g} s")
                before, since = done, time.monotonic()
    if total is not None and done < total:
        raise OSError(f"the connection broke after {done:,} of {total:,} bytes")
