"""The table that no paper publishes: the same photographs with no neighbours, the nearest only, and both ends of the gallery."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from img2loc.bench.runs.predict import Tally
from img2loc.bench.runs.run_folder import ABOUT, Run
from img2loc.bench.runs.session import CostEstimate, Progress, Session
from img2loc.config import factory, galleries
from img2loc.config.config import Config
from img2loc.core.protocols import Encoder, scale_of, views_of
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
    """The rows of the table: none; then for each number of neighbours nearest, nearest + farthest, and both with place names."""
    asked = {"lmm": lmm}
    found = [Variant("none", {"kind": "zeroshot", "prompt": "zeroshot", **asked})]
    ends = {"nearest": ("nearest", 0), "nearest-farthest": ("nearest-farthest", 1)}
    if places:
        ends["nearest-places"] = ("nearest-places", 0)
        ends["nearest-farthest-places"] = ("nearest-farthest-places", 1)
    for name, (prompt, farthest) in ends.items():
        for count in counts:
            numbers = {"nearest": count, "farthest": count * farthest}
            table = {"kind": "img2loc", "gallery": gallery, "prompt": prompt, **asked, **numbers}
            found.append(Variant(f"{name}-{count}", table))
    return found


class Ablation:
    """The variants' runs over one session's photographs, which are encoded once for all."""

    def __init__(self, config: Config, session: Session) -> None:
        self._config = config
        self._session = session
        self._make_encoder: Callable[[], Encoder] | None = None

    def cost_estimate(self, rows: Sequence[Variant], folder: Path) -> CostEstimate | None:
        """What is left to be asked of the LMM in the runs below a folder, all together;

        None where nothing is.
        """
        found = None
        for row in rows:
            self._config.override("locator", row.name, row.table, "ablation")
            if (
                one := self._session.cost_estimate(self._config, row.name, folder / row.name)
            ) is not None:
                found = (
                    one
                    if found is None
                    else replace(
                        one, photos=found.photos + one.photos, total=found.total + one.total
                    )
                )
        return found

    def run(
        self,
        row: Variant,
        rows: Sequence[Variant],
        folder: Path,
        *,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Run one variant of the table's `rows` below a folder, or go on there: an ordinary run, to be scored like any other.

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
            self._config,
            row.name,
            folder / row.name,
            progress=progress,
            make_encoder=self._make_encoder,
        )


class CachingEncoder:
    """An encoder that keeps the vectors of what it has seen: a few kilobytes each."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.dim = encoder.name, encoder.dim
        self.scale, self.views = scale_of(encoder), views_of(encoder)
        self._encoder = encoder
        self._kept: dict[str, Embedding | Rejected] = {}

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """One row for each photo, in order."""
        upcoming = iter(photos)
        for photo in upcoming:
            if (kept := self._kept.get(str(photo.path))) is not None:
                yield kept
                continue
            yield from self._new(photo, upcoming)

    def _new(self, first: Photo, upcoming: Iterator[Photo]) -> Iterator[Embedding | Rejected]:
        """From the first photograph that is not known on: the encoder reads ahead, so all go through it in one stream."""
        names: list[str] = []

        def noted() -> Iterator[Photo]:
            names.append(str(first.path))
            yield first
            for photo in upcoming:
                names.append(str(photo.path))
                yield photo

        for number, vector in enumerate(self._encoder.encode(noted())):
            self._kept[names[number]] = vector
            yield vector
