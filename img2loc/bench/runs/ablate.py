"""An ablation of the neighbours: which the LMM is shown, if any, and the nearest alone → runs."""

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
from img2loc.config.plan import Plan
from img2loc.core.protocols import Encoder, queries_of
from img2loc.core.types import Embedding, Photo, Rejected

COUNTS = (4, 8, 16, 32)
NO_NEIGHBOURS, NO_LMM = "none", "1-nn"


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table: a locator's name, which is its run folder's, and its table."""

    name: str
    table: dict[str, Any]

    def folders(self, folder: Path, repeats: int) -> list[Path]:
        """The folders of its runs: one, or with an LMM one for each repeat."""
        again = range(2, repeats + 1 if "lmm" in self.table else 2)
        return [folder / self.name, *(folder / f"{self.name}-repeat-{n}" for n in again)]


def variants(
    gallery: str, lmm: str, counts: Sequence[int] = COUNTS, places: bool = True
) -> list[Variant]:
    """The rows of the table.

    The LMM without neighbours, the nearest neighbour without an LMM, then each prompt with each
    number of neighbours, and the control: the prompt of the nearest with rows drawn at random.
    """
    rows = [
        Variant(NO_NEIGHBOURS, {"kind": "zeroshot", "prompt": "zeroshot", "lmm": lmm}),
        Variant(NO_LMM, {"kind": "retrieval", "gallery": gallery, "decide": "nearest"}),
    ]
    prompts = ["random", "farthest", "nearest", "nearest-farthest"]
    if places:
        prompts += ["nearest-places", "nearest-farthest-places"]
    for name in prompts:
        for count in counts:
            sides = {side: count if side in name else 0 for side in ("nearest", "farthest")}
            table = {"kind": "img2loc", "gallery": gallery, "prompt": name, "lmm": lmm, **sides}
            if name == "random":
                table |= {"prompt": "nearest", "nearest": count, "random_nearest": True}
            rows.append(Variant(f"{name}-{count}", table))
    return rows


def questions(counts: Sequence[int] = COUNTS, places: bool = True) -> list[tuple[str, str]]:
    """The pairs of rows that are compared unless others are named: each differs in one thing.

    Few, because each makes the correction of all others stricter.
    """
    pairs = [(NO_LMM, NO_NEIGHBOURS)]
    for k in counts:
        pairs += [
            (NO_NEIGHBOURS, f"nearest-{k}"),
            (NO_LMM, f"nearest-{k}"),
            (f"random-{k}", f"nearest-{k}"),
            (NO_NEIGHBOURS, f"farthest-{k}"),
            (f"nearest-{k}", f"nearest-farthest-{k}"),
        ]
        if places:
            pairs += [
                (f"nearest-{k}", f"nearest-places-{k}"),
                (f"nearest-farthest-{k}", f"nearest-farthest-places-{k}"),
                (f"nearest-places-{k}", f"nearest-farthest-places-{k}"),
            ]
    return pairs


class Ablation:
    """The variants' runs over one session's photographs, which are encoded once for all.

    With `repeats`, each variant that asks an LMM is run so many times, with replies of its own.
    """

    def __init__(
        self,
        config: Config,
        session: Session,
        rows: Sequence[Variant],
        folder: Path,
        repeats: int = 1,
    ) -> None:
        self.rows = list(rows)
        self._config = config
        self._session = session
        self.folders = {row.name: row.folders(folder, repeats) for row in self.rows}
        """The folders of each row's runs, by its name."""
        self._make_encoder: Callable[[], Encoder] | None = None
        for row in self.rows:
            config.override("locator", row.name, row.table, "ablation")

    @property
    def runs(self) -> list[tuple[Variant, int, Path]]:
        """Every run: its variant, the number of its repeat from 0, its folder."""
        return [
            (row, repeat, folder)
            for row in self.rows
            for repeat, folder in enumerate(self.folders[row.name])
        ]

    @property
    def samples(self) -> bool:
        """Whether an LMM may reply otherwise when asked again."""
        lmms = [lmm for row in self.rows for lmm in Plan(self._config, row.name).lmms]
        return any(lmm.settings.get("temperature", 0) != 0 for lmm in lmms)

    def cost_estimate(self) -> CostEstimate | None:
        """What the rest of all runs costs; None where no LMM is to be asked."""
        estimates = [
            self._session.cost_estimate(self._config, row.name, folder)
            for row, _, folder in self.runs
        ]
        return reduce(add, filter(None, estimates)) if any(estimates) else None

    def run(
        self,
        row: Variant,
        repeat: int,
        folder: Path,
        *,
        progress: Progress = lambda tally: None,
    ) -> Tally:
        """Run one of `runs`, or resume it.

        The session's `max_usd` is for all runs together: what the others have cost is taken off.
        """
        session = replace(self._session, repeat=repeat)
        if session.max_usd is not None:
            others = [other for _, _, other in self.runs if other != folder]
            spent = sum(Run.open(other).spent_usd for other in others if (other / ABOUT).exists())
            session = replace(session, max_usd=session.max_usd - spent)
        if self._make_encoder is None and "gallery" in row.table:
            gallery = galleries.open_gallery(self._config, row.table["gallery"])
            self._make_encoder = cache(
                lambda: CachingEncoder(factory.encoder_of(self._config, gallery))
            )
        return session.run(
            *(self._config, row.name, folder), progress=progress, make_encoder=self._make_encoder
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

    encode_queries = encode  # Only photographs that are asked about are encoded here.

    def _encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        """Encode all photographs from the first new one on as one stream: an encoder batches."""
        names: deque[str] = deque()

        def noted() -> Iterator[Photo]:
            for photo in photos:
                names.append(str(photo.path))
                yield photo

        for embedding in queries_of(self._encoder, noted()):
            self._cache[names.popleft()] = embedding
            yield embedding
