"""Several sources → one, in which each row keeps the name of its source."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from img2loc.core.errors import SourceError
from img2loc.core.protocols import Source
from img2loc.core.types import Item, Rejected
from img2loc.data.items import unique
from img2loc.data.photo_names import SeenIds


class Concat:
    """Several sources, one after the other; of entries with the same id the first is taken.

    `taken` gives, block by block, ids to skip: those of a gallery that the sources are added to.
    Raises SourceError where two sources have the same name.
    """

    def __init__(
        self,
        sources: Sequence[tuple[str, Source]],
        taken: Callable[[], Iterable[Sequence[str]]] = tuple,
    ) -> None:
        names = [name for name, _ in sources]
        if len(set(names)) < len(names):
            raise SourceError(
                f"Two sources have the same name: {', '.join(sorted(names))}. Rename one."
            )
        self._sources, self._taken = sources, taken
        self.path = sources[0][1].path if len(sources) == 1 else Path("+".join(names))
        parts = [[name, source.fingerprint] for name, source in sources]
        self.fingerprint = hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def __len__(self) -> int:
        """About how many entries all have together."""
        return sum(len(source) for _, source in self._sources)

    def __iter__(self) -> Iterator[Item | Rejected]:
        """The entries of the first source, then those of the next."""
        seen = SeenIds()
        for ids in self._taken():
            seen.add(ids)
        for name, source in self._sources:
            for entry in unique(source, seen, "duplicate id: another source or the gallery has it"):
                yield replace(entry, source=name) if isinstance(entry, Item) else entry
