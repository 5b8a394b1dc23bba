"""A source and an encoder → shards of embeddings: the costly half of a build, or a part of it.

It resumes at the shard where it was interrupted.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.core.errors import ConfigError
from img2loc.core.files import shard_size, write_json
from img2loc.core.protocols import Encoder, Source, name_for, views_of
from img2loc.core.types import Embedding, Item, Rejected
from img2loc.gallery.build.build_folder import begin, workspace
from img2loc.gallery.build.shards import Encoded, is_whole, shard_paths, write_shard
from img2loc.gallery.index.spec import resolve_spec

Progress = Callable[[int], None]
PART = "part.json"
"""Written when a part is whole: what the merged gallery needs to know."""
_TOWER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class Part:
    """The `number`-th of `of` parts of a build, for one machine each: every `of`-th shard."""

    number: int = 1
    of: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """The part that a text means: 2/4 is the second of four. Raises ConfigError."""
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


def embed_part(
    source: Source,
    encoder: Encoder,
    folder: Path,
    part: Part,
    *,
    alias: str,
    table: Mapping[str, Any],
    of: str = "photos",
    spec: str = "auto",
    about: Mapping[str, Any] | None = None,
    progress: Progress = lambda done: None,
) -> int:
    """Embed a part of a source into a folder of its own; returns how many shards it has.

    Arguments and errors are those of `pipeline.build`.
    """
    require_tower(encoder, alias, of)
    spec = resolve_spec(spec, len(source), of)
    with workspace(folder).locked():
        begin(folder, {**plan_of(source, encoder, of), "part": str(part)})
        extent = embed(source, encoder, folder, of, progress, part)
        note = {
            "part": [part.number, part.of],
            "shards": extent.shards,
            "entries": extent.entries,
            "dim": encoder.dim,
            "spec": spec,
            "encoder": {"name": name_for(encoder, of), "alias": alias, "table": dict(table)},
            "about": {"source": source.path.name, "of": of, **(about or {})},
        }
        write_json(folder / PART, note)
    return sum(part.has(number) for number in range(extent.shards))


def embed(
    source: Source,
    encoder: Encoder,
    folder: Path,
    of: str = "photos",
    progress: Progress = lambda done: None,
    part: Part = WHOLE,
    after: Extent = NOTHING,
) -> Extent:
    """Write the source's embeddings by shard, but for existing ones and those of other parts.

    They are numbered on from those `after` which they come. Photographs' vectors are kept in half
    precision, as by clip-retrieval; points' and texts' in single precision, so that a gallery gives
    its authors' probabilities. Returns the extent of the source as a whole, in whichever part.
    Raises SourceError where the source vanishes.
    """
    dtype = np.float16 if of == "photos" else np.float32
    entries, done, number = iter(source), 0, after.shards
    while shard := list(islice(entries, shard_size(after.entries + done))):
        if part.has(number) and not is_whole(paths := shard_paths(folder, number)):
            encoded = _encoded(shard, encoder, of, done, progress)
            write_shard(paths, encoded, encoder.dim, dtype, source.path.stem)
        done, number = done + len(shard), number + 1
        progress(done)
    return Extent(number - after.shards, done)


def plan_of(source: Source, encoder: Encoder, of: str) -> dict[str, Any]:
    """What is noted in a folder before anything is built there."""
    plan = {"source": source.fingerprint, "encoder": name_for(encoder, of)}
    if of != "photos":
        plan["of"] = of
    elif (views := views_of(encoder)) != "single":
        plan["views"] = views
    return plan


def require_tower(encoder: Any, alias: str, of: str) -> None:
    """Raise ConfigError for an encoder that cannot embed "photos", "points" or "texts"."""
    method, tower = {
        "photos": ("encode", "an image tower"),
        "points": ("encode_points", "a location tower, such as geoclip"),
        "texts": ("encode_texts", "a text tower, such as clip-l14"),
    }[of]
    if not hasattr(encoder, method):
        raise ConfigError(
            f"The encoder {alias!r} cannot embed {of}. Choose one that has {tower}, with --encoder."
        )


def _encoded(
    entries: list[Item | Rejected], encoder: Any, of: str, done: int, progress: Progress
) -> Iterator[Encoded]:
    """Each entry with its vector, or why it has none, in order; `done` entries came before."""
    items = [entry for entry in entries if isinstance(entry, Item)]
    vectors = _vectors(items, encoder, of)
    for ready, entry in enumerate(entries, done + 1):
        if isinstance(entry, Rejected):
            yield entry
            continue
        if (vector := next(vectors, None)) is None:
            raise ConfigError(
                f"The encoder {encoder.name!r} gave fewer vectors than there were {of}. It must"
                " give one for each."
            )
        if isinstance(vector, Rejected):
            yield Rejected(entry.id, vector.reason)
        else:
            digest = entry.photo.short_digest() if of == "photos" else ""
            yield replace(entry, digest=digest), vector
        progress(ready)


def _vectors(items: list[Item], encoder: Any, of: str) -> Iterator[Embedding | Rejected]:
    if of == "photos":
        yield from encoder.encode(item.photo for item in items)
        return
    for start in range(0, len(items), _TOWER_BATCH):
        batch = items[start : start + _TOWER_BATCH]
        if of == "points":
            yield from encoder.encode_points([item.location for item in batch])
        else:
            yield from encoder.encode_texts([item.text for item in batch])
