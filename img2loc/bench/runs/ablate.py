"""An ablation of the neighbours: none, the nearest, and both nearest and farthest → runs."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, reduce
from itertools import chain
from operator import add
from pathlib import Path
from typing import Any

from img2loc.bench.runs.predict import Tally
from img2loc.bench.runs.run_folder import ABOUT, Run
from img2loc.bench.runs.session import CostEstimate, Progress, Session
from img2loc.config import factory, galleries
from img2loc.config.config import Config
from img2loc.core.protocols import Encoder
from img2loc.core.types import Embedding, Photo, Rejected

COUNTS = (4, 8, 16, 32)


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table: a locator's name, which is its run folder's, and its table."""

    name: str
    table: dict[str, Any]


def variants(
    gallery: str, lmm: str, counts: Sequence[int] = COUNTS, places: bool = True
) -> list[Variant]:
    """The rows of the table: no neighbours, then each prompt with each number of neighbours."""
    rows = [Variant("none", {"kind": "zeroshot", "prompt": "zeroshot", "lmm": lmm})]
    prompts = ["nearest", "nearest-farthest"]
    if places:
        prompts += ["nearest-places", "nearest-farthest-places"]
    for prompt in prompts:
        for count in counts:
            table = {
                **{"kind": "img2loc", "gallery": gallery, "prompt": prompt, "lmm": lmm},
                **{"nearest": count, "farthest": count if "farthest" in prompt else 0},
            }
            rows.append(Variant(f"{prompt}-{count}", table))
    return rows


class Ablation:
    """The variants' runs over one session's photographs, which are encoded once for all."""

    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._make_encoder: Callable[[], Encoder] | None = None

    def cost_estimate(self, rows: Sequence[Variant], folder: Path) -> CostEstimate | None:
        """What the rest of all runs below a folder costs; None where no LMM is to be asked."""
        for row in rows:
            self._config.override("locator", row.name, row.table, "ablation")
        estimates = [
            self._session.cost_estimate(self._config, row.name, folder / row.name) for row in rows
        ]
        return reduce(add, filter(None, estimates)) if any(estimates) else None

    def run(
        self,
        row: Variant,
        rows: Sequence[Variant],
        folder: Path,
        *,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Run one variant of the table's `rows` below a folder, or resume there.

        The session's `max_usd` is for all rows together: what the others have cost is taken off.
        """
        self._config.override("locator", row.name, row.table, "ablation")
        session = self._session
        if session.max_usd is not None:
            others = (folder / other.name for other in rows if other is not row)
            spent = sum(Run.open(other).spent_usd for other in others if (other / ABOUT).exists())
            session = replace(session, max_usd=session.max_usd - spent)
        if self._make_encoder is None and "gallery" in row.table:
            gallery = galleries.open_gallery(self._config, row.table["gallery"])
            self._make_encoder = cache(
                lambda: CachingEncoder(factory.encoder_of(self._config, gallery))
            )
        return session.run(
            *(self._config, row.name, folder / row.name),
            progress=progress,
            make_encoder=self._make_encoder,
        )


class CachingEncoder:
    """An encoder that keeps the embeddings of photographs: a few kilobytes each."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dim = encoder.name, encoder.dim
        self._encoder = encoder
        self._cache: dict[str, Embedding | Rejected] = {}

    def __getattr__(self, attribute: str) -> Any:
        """What an encoder may have besides, such as a scale."""
        return getattr(self._encoder, attribute)

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One row for each photo, in order."""
        upcoming = iter(photos)
        for photo in upcoming:
            if (cached := self._cache.get(str(photo.path))) is not None:
                yield cached
            else:
                yield from self._encode(chain([photo], upcoming))

    def _encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """Encode all photographs from the first new one on as one stream: an encoder batches."""
        names: deque[str] = deque()

        def noted() -> Iterator[Photo]:
            for photo in photos:
                names.append(str(photo.path))
                yield photo

        for embedding in self._encoder.encode(noted()):
            self._cache[names.popleft()] = embedding
            yield embedding
