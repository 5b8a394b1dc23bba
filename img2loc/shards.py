"""A source and an encoder → shards in a folder: vectors in `img_emb/*.npy`, their rows in `metadata/*.parquet`.

That is the layout which clip-retrieval's users know; what could not be embedded is in `skipped/*.json`. The costly half of a
gallery: it goes on at the shard where it was cut off, and can be shared out among machines.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.errors import ConfigError
from img2loc.protocols import Encoder, Source
from img2loc.rows import table_of
from img2loc.types import Embedding, Item, Rejected

Progress = Callable[[int], None]
Encoded = tuple[Item, Embedding] | Rejected
"""An entry with its vector, or why it has none."""
_TOWER_BATCH = 2048
_KINDS = {"img_emb": "npy", "metadata": "parquet", "skipped": "json"}


@dataclass(frozen=True, slots=True)
class Part:
    """The `number`-th of `of` parts: every `of`-th shard, so that parts put together are the whole."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """The part that a text such as 2/4 means, the second of four. Raises ConfigError."""
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise ConfigError(f"--part {text}: say which of how many, as in 1/4, 2/4, 3/4 and 4/4.")
        return cls(int(number), int(of))

    def has(self, shard: int) -> bool:
        """Whether a shard belongs to it."""
        return shard % self.of == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True, slots=True)
class Extent:
    """Shards, and the entries of a source that went into them."""

    shards: int
    entries: int


WHOLE, NOTHING = Part(), Extent(0, 0)


def embed(
    source: Source,
    encoder: Encoder,
    folder: Path,
    of: str = "photos",
    progress: Progress = lambda done: None,
    part: Part = WHOLE,
    after: Extent = NOTHING,
) -> Extent:
    """Write the source's embeddings shard by shard; shards that are there, or not in the part, are passed over.

    They are numbered on from those `after` which they come. Photographs' vectors are kept in half precision, as clip-retrieval's
    users know it; points' and texts' in single precision, so that a gallery gives its authors' probabilities. Returns the shards
    and entries of the source as a whole, in whichever part. Raises SourceError where the source vanishes.
    """
    entries, done, number = iter(source), 0, after.shards
    while shard := list(islice(entries, shard_size(after.entries + done))):
        if part.has(number) and not is_whole(paths := shard_paths(folder, number)):
            encoded = _encoded(shard, encoder, of, partial(_after, progress, done))
            write_shard(paths, encoded, encoder.dim, np.float16 if of == "photos" else np.float32, source.path.stem)
        done, number = done + len(shard), number + 1
        progress(done)
    return Extent(number - after.shards, done)


def shard_size(done: int) -> int:
    """Entries in the shard that starts at entry `done`: a sixteenth of what is done already, within 64 and 10,000.

    So a kill costs at most that share of the work, and millions of rows still make hundreds of files.
    """
    return max(64, min(10_000, done // 16))


def shard_paths(folder: Path, number: int) -> dict[str, Path]:
    """The files of a shard by kind: "img_emb", "metadata", "skipped"."""
    return {kind: folder / kind / f"{kind}_{number:05}.{suffix}" for kind, suffix in _KINDS.items()}


def is_whole(paths: Mapping[str, Path]) -> bool:
    """Whether a shard is there with all its files."""
    return all(path.exists() for path in paths.values())


def write_shard(
    paths: Mapping[str, Path], encoded: Iterable[Encoded], dim: int, dtype: type[np.floating[Any]], source: str
) -> None:
    """Write the files of one shard; `source` is the name of the rows' source where they do not say. Raises OSError."""
    import pyarrow.parquet as pq

    items: list[Item] = []
    vectors: list[Embedding] = []
    skipped: list[Rejected] = []
    for entry in encoded:
        if isinstance(entry, Rejected):
            skipped.append(entry)
        else:
            items.append(entry[0])
            vectors.append(entry[1])
    for path in paths.values():
        path.parent.mkdir(exist_ok=True)
    paths["img_emb"].unlink(missing_ok=True)
    told = json.dumps([{"id": entry.id, "reason": entry.reason} for entry in skipped], indent=1).encode()
    content = io.BytesIO()  # numpy, writing to a file itself, hides why it could not.
    np.save(content, np.array(vectors, dtype=dtype).reshape(len(items), dim))
    _write(paths["skipped"], lambda draft: draft.write_bytes(told))
    _write(paths["metadata"], lambda draft: pq.write_table(table_of(items, source), draft))
    _write(paths["img_emb"], lambda draft: draft.write_bytes(content.getbuffer()))  # Last: with its vectors a shard is done.


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all, and not into one that another folder shares."""
    draft = path.with_suffix(".tmp")
    write(draft)
    draft.replace(path)


def require_tower(encoder: Any, alias: str, of: str) -> None:
    """Raise ConfigError for an encoder that cannot embed "photos", "points" or "texts"."""
    needed = {"photos": "encode", "points": "encode_points", "texts": "encode_texts"}
    if not hasattr(encoder, needed[of]):
        what = {"points": "location tower, such as geoclip", "texts": "text tower, such as clip-l14"}.get(of, "image tower")
        raise ConfigError(f"The encoder {alias!r} cannot embed {of}. Choose one that has a {what}, with --encoder.")


def _after(progress: Progress, before: int, ready: int) -> None:
    progress(before + ready)


def _encoded(entries: list[Item | Rejected], encoder: Any, of: str, progress: Progress) -> Iterator[Encoded]:
    """Each entry with its vector, or why it has none, in order."""
    items = [entry for entry in entries if isinstance(entry, Item)]
    vectors = encoder.encode(item.photo for item in items) if of == "photos" else _by_tower(items, encoder, of)
    for ready, entry in enumerate(entries, 1):
        if isinstance(entry, Rejected):
            yield entry
            continue
        if (vector := next(vectors, None)) is None:
            raise ConfigError(f"The encoder {encoder.name!r} gave fewer vectors than there were {of}. It must give one for each.")
        yield Rejected(entry.id, vector.reason) if isinstance(vector, Rejected) else (entry, vector)
        progress(ready)


def _by_tower(items: list[Item], encoder: Any, of: str) -> Iterator[Embedding]:
    for start in range(0, len(items), _TOWER_BATCH):
        batch = items[start : start + _TOWER_BATCH]
        if of == "points":
            yield from encoder.encode_points([item.location for item in batch])
        else:
            yield from encoder.encode_texts([item.text for item in batch])
