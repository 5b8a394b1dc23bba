"""Writers of tar, zip, CSV and Parquet files in the layouts of MP16-Pro and WebDataset."""

import csv
import io
import json
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.conftest import picture


def photo_bytes(seed: int) -> bytes:
    buffer = io.BytesIO()
    picture(seed).save(buffer, "JPEG")
    return buffer.getvalue()


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return path


def write_zip(path: Path, files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", method) as opened:
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def split(path: Path, sizes: Sequence[int], stem: str) -> list[Path]:
    """The file in pieces of these sizes, and the rest; the whole is deleted."""
    content, pieces = path.read_bytes(), []
    path.unlink()
    for number, size in enumerate([*sizes, len(content)]):
        pieces.append(path.parent / f"{stem}{number:02}")
        pieces[-1].write_bytes(content[:size])
        content = content[size:]
    return pieces


def mp16_name(seed: int) -> str:
    """An id as MP-16 writes it."""
    return f"{seed % 256:02x}/{seed * 7 % 256:02x}/{4_763_369_500 + seed}.jpg"


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def make_mp16(folder: Path, seeds: Sequence[int], table_only: Sequence[int] = ()) -> Path:
    """MP16-Pro: one tar in pieces, names with underscores; a table whose ids have folders."""
    files = {f"./images/{mp16_name(seed).replace('/', '_')}": photo_bytes(seed) for seed in seeds}
    whole = write_tar(folder / "whole.tar", files)
    third = whole.stat().st_size // 3
    split(whole, [third - third % 512 + 100, third + 77], "mp-16-images")
    rows = [
        (mp16_name(seed), seed / 10, -seed / 10, f"{seed}@N00", "a, b")
        for seed in [*table_only, *reversed(seeds)]
    ]
    write_table(
        folder / "metadata" / "MP16_Pro_filtered.csv",
        ["IMG_ID", "LAT", "LON", "AUTHOR", "city"],
        rows,
    )
    return folder


def make_pairs(path: Path, seeds: Sequence[int], **fields: object) -> Path:
    """WebDataset's layout: KEY.jpg, KEY.json."""
    files: dict[str, bytes] = {}
    for seed in seeds:
        files[f"{seed:09}.jpg"] = photo_bytes(seed)
        files[f"{seed:09}.json"] = json.dumps(
            {"lat": seed / 10, "lon": 1.5, "caption": f"place {seed}", **fields}
        ).encode()
        files[f"{seed:09}.txt"] = b"words"
    return write_tar(path, files)
