"""GeoCLIP trainings of one ablation → their scores on held-out photographs, each against full."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from img2loc.bench.scores.ablation import Condition, ablation
from img2loc.bench.scores.outcomes import Outcomes
from img2loc.core.protocols import Encoder, Source
from img2loc.training.ablation import FULL, held_out
from img2loc.training.geoclip_settings import GeoClipTraining


def table(
    settings: GeoClipTraining, tower: Encoder, source: Source, folders: Mapping[str, Path]
) -> dict[str, Any]:
    """The scores of trainings by row name, and the pairs of the full one with each other."""
    photos = held_out(settings, tower, source)
    n = len(photos.points)
    unknown = np.full(n, np.nan)
    conditions = []
    for name, folder in folders.items():
        outcomes = Outcomes(
            name=name,
            ids=tuple(map(str, range(n))),
            authors=tuple(photos.photographers),
            truth=photos.points,
            guess=photos.places(folder),
            status=("located",) * n,
            radius_km=unknown,
            radius_share=unknown,
            spread_km=unknown,
            similarity=unknown,
            excluded=unknown,
            checked=np.zeros(n, dtype=bool),
        )
        conditions.append(Condition(name, (outcomes,)))
    return ablation(conditions, [(FULL, name) for name in folders if name != FULL])
