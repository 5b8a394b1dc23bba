"""GeoCLIP's ablations: the settings of each row, and where each training places held-out photos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from img2loc.core.devices import resolve_device
from img2loc.core.errors import ConfigError
from img2loc.core.geo import Array
from img2loc.core.protocols import Encoder, Source
from img2loc.data.source_from_path import open_source
from img2loc.encoders import geoclip_towers
from img2loc.encoders.geoclip import image_tower
from img2loc.training.accuracy import Accuracy
from img2loc.training.features import Features, extract
from img2loc.training.geoclip_settings import GeoClipTraining
from img2loc.training.initialization import SAMPLE, split_features

FULL = "full"
FRACTIONS = (0.05, 0.1, 0.2, 0.5)
_GALLERY = 100_000


def variants(
    settings: GeoClipTraining, fractions: Sequence[float] = FRACTIONS
) -> dict[str, GeoClipTraining]:
    """The rows by name: `settings` in full, then what the paper's ablations take away from it.

    The projection, the Fourier features, the hierarchy (one frequency alone, and all but the
    finest), the queue, and a share of the photographs.
    """
    rows = {
        FULL: settings,
        "no-projection": replace(settings, projection="equirectangular"),
        "no-fourier": replace(settings, sigma=[]),
    }
    sigmas = list(settings.sigma)
    if len(sigmas) > 1:
        rows |= {f"sigma-{one:g}": replace(settings, sigma=[one]) for one in sigmas}
    if len(sigmas) > 2:
        rows["no-finest"] = replace(settings, sigma=sigmas[:-1])
    if settings.queue:
        rows["no-queue"] = replace(settings, queue=0)
    for share in fractions:
        rows[f"data-{share:g}"] = replace(settings, fraction=share * settings.fraction)
    return rows


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The photographs on which all rows are measured, and the coordinates they are placed at.

    `points` are (lat, lon) in degrees, shape (n, 2), `photographers` "" where not known. The
    gallery is the coordinates of all training photographs, at most 100,000, also for a row that is
    trained on fewer: a smaller gallery would be another experiment.
    """

    points: Array
    photographers: list[str]
    _features: Features
    _rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    _gallery: Array
    _device: str

    def places(self, folder: Path) -> Array:
        """Where the training in a folder places them, shape (n, 2)."""
        parts, _ = geoclip_towers.load(str(folder))
        accuracy = Accuracy(parts.to(self._device), self._gallery, self._device)
        return accuracy.places(self._rows, self._features.__getitem__)


def held_out(settings: GeoClipTraining, tower: Encoder, source: Source) -> HeldOut:
    """What the rows of an ablation are measured on: the validation photographs of `settings`.

    Raises ConfigError where there are none, SourceError.
    """
    tower = image_tower(tower)
    features = extract(source, tower)
    training, rows = split_features(
        features, source, settings.validation, settings.fraction, settings.seed
    )
    measured, of = features, source
    if isinstance(settings.validation, str):
        of = open_source(Path(settings.validation))
        measured = extract(of, tower)
        rows = np.arange(len(measured))
    if not len(rows):
        raise ConfigError(
            "An ablation needs photographs that no row is trained on. Hold some out: --validation"
            " 0.2, or a CSV of others."
        )
    people = measured.photographers(of)
    gallery = training
    if len(training) > _GALLERY:
        random = np.random.default_rng([settings.seed, SAMPLE])
        gallery = random.choice(training, _GALLERY, replace=False)
    return HeldOut(
        points=measured.points[rows],
        photographers=[people[row] for row in rows],
        _features=measured,
        _rows=rows,
        _gallery=np.unique(features.points[gallery], axis=0),
        _device=resolve_device(settings.device),
    )
