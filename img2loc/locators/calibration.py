"""What a locator's radius is worth, learnt from photographs whose place is known: a JSON file."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, cast, get_args

import numpy as np

from img2loc.core.errors import ConfigError, first_line
from img2loc.core.files import write_json
from img2loc.core.geo import Array
from img2loc.locators.conformal import FARTHEST_KM, Clusters, Conformal, Evidence, Score, fit
from img2loc.locators.spread import MIN_KM

FORMAT = 1
SHARES = (0.5, 0.68, 0.9)
"""The shares that every calibration has."""
DEFAULT_SHARE = 0.68
FEWEST = 100
"""Answers with a known place below which nothing is promised."""
NOT_FOR = (
    "The promise is for photographs drawn as those that it was measured on, and for this locator."
    " It does not hold for photographs of another kind, nor for one chosen for its answer."
)
DAMAGED = (
    *(OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError),
)
"""What reading a file that is no calibration may raise."""
Identity = Mapping[str, Any]
"""What an answer depends on: the locator's table, LMM, gallery, encoder and prompts, by name."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """The radius of a locator's answers.

    `of` is whose: empty for predictions that do not say. `measured_on` says in words what it was
    measured on, `photos` how many answers and `clusters` how many photographers, or what else was
    counted (`counted`). `lmm_errors_km` is each LMM's median error, of several.
    """

    of: Identity
    measured_on: str
    photos: int
    clusters: int
    counted: str
    conformal: Conformal
    lmm_errors_km: Mapping[str, float] = field(default_factory=dict)

    @property
    def shares(self) -> tuple[float, ...]:
        """The shares that it has a radius for."""
        return tuple(self.conformal.quantiles)

    def promises(self, share: float) -> bool:
        """Whether any answer has a radius of that share."""
        return any(map(math.isfinite, self.conformal.quantiles[share]))

    def radius_km(self, evidence: Evidence, share: float) -> Array:
        """The radius around each answer, shape (n,), rounded up; NaN where nothing is promised.

        Raises ConfigError for a share that was not measured.
        """
        if share not in self.conformal.quantiles:
            known = ", ".join(f"{one:g}" for one in self.shares)
            raise ConfigError(
                f"The calibration has no radius for a share of {share:g}. It has {known}; calibrate"
                f" again with --share {share:g}."
            )
        radius = np.maximum(self.conformal.radius_km(evidence, share), MIN_KM)
        rounded = np.minimum(np.ceil(radius * 10) / 10, math.ceil(FARTHEST_KM))
        return np.where(np.isfinite(radius), rounded, np.nan)

    def require(self, of: Identity, file: str) -> None:
        """Raise ConfigError unless it is of these parts."""
        if not self.of:
            raise ConfigError(
                f"{file} was measured on a table of predictions, which does not say what made them."
                " Calibrate a run: img2loc bench calibrate RUN --out FILE."
            )
        other = [key for key in {**self.of, **of} if self.of.get(key) != of.get(key)]
        if other:
            one = other[0]
            raise ConfigError(
                f"{file} is of another {one}: {_short(self.of.get(one))}, and this is"
                f" {_short(of.get(one))}. Calibrate this one: img2loc index calibrate, or img2loc"
                " bench calibrate on a run of it."
            )

    def record(self) -> dict[str, Any]:
        """It as JSON."""
        record: dict[str, Any] = {"format": FORMAT, **asdict(self), "not_for": NOT_FOR}
        record["conformal"]["quantiles"] = {
            str(share): [None if math.isinf(one) else one for one in quantiles]
            for share, quantiles in self.conformal.quantiles.items()
        }
        return cast(dict[str, Any], json.loads(json.dumps(record)))  # Lists, as they are read.

    @classmethod
    def from_record(cls, record: Any) -> Self:
        """It from JSON. Raises one of DAMAGED."""
        if record["format"] != FORMAT:
            raise ValueError(f"its format is {record['format']}, this version reads {FORMAT}")
        return cls(
            of=dict(record["of"]),
            measured_on=str(record["measured_on"]),
            photos=int(record["photos"]),
            clusters=int(record["clusters"]),
            counted=str(record["counted"]),
            conformal=_conformal(record["conformal"]),
            lmm_errors_km={str(k): float(v) for k, v in record["lmm_errors_km"].items()},
        )

    def save(self, path: Path) -> None:
        """Write it. Raises ConfigError where that is impossible."""
        try:
            write_json(path, self.record())
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}. Name a folder that can."
            ) from error

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it. Raises ConfigError for anything else than what `save` writes."""
        try:
            return cls.from_record(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise ConfigError(
                f"There is no calibration {path}. Make one: img2loc bench calibrate RUN --out"
                f" {path}."
            ) from error
        except DAMAGED as error:
            raise ConfigError(
                f"{path} is no calibration ({first_line(error) or repr(error)}). Make it again:"
                " img2loc index calibrate, or img2loc bench calibrate."
            ) from error


def calibrate(
    errors_km: Array,
    evidence: Evidence,
    clusters: Clusters,
    shares: Sequence[float] = (),
    *,
    of: Identity,
    measured_on: str,
    counted: str,
    lmm_errors_km: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Calibration:
    """The calibration by answers whose errors are known, shape (n,).

    `shares` are measured beside SHARES. Raises ConfigError for too few answers.
    """
    if len(errors_km) < FEWEST:
        raise ConfigError(
            f"Nothing can be promised: {measured_on} has {len(errors_km):,} answers to photos whose"
            f" place is known, and {FEWEST} are needed."
        )
    wanted = checked_shares(shares)
    return Calibration(
        of=of,
        measured_on=measured_on,
        photos=len(errors_km),
        clusters=len(np.unique(clusters)),
        counted=counted,
        conformal=fit(errors_km, evidence, clusters, wanted, seed),
        lmm_errors_km=dict(lmm_errors_km or {}),
    )


def checked_shares(shares: Sequence[float]) -> list[float]:
    """The shares and SHARES, in order. Raises ConfigError for one that is none."""
    if bad := [share for share in shares if not 0 < share < 1]:
        raise ConfigError(f"The share {bad[0]:g} is not between 0 and 1. Try 0.95.")
    return sorted({*SHARES, *shares})


def _conformal(record: Mapping[str, Any]) -> Conformal:
    """Raises KeyError, TypeError or ValueError for what does not fit together."""
    score = record["score"]
    line, edges = (tuple(map(float, record[key])) for key in ("line", "edges"))
    quantiles = {
        float(share): tuple(math.inf if one is None else float(one) for one in row)
        for share, row in record["quantiles"].items()
    }
    known = bool(quantiles) and all(0 < share < 1 for share in quantiles)
    fits = (
        known and score in get_args(Score) and len(line) in (2, 3) and list(edges) == sorted(edges)
    )
    whole = all(len(row) == len(edges) + 2 and min(row) >= 0 for row in quantiles.values())
    if not (fits and whole and all(map(math.isfinite, (*line, *edges)))):
        raise ValueError("its numbers do not fit together")
    return Conformal(score, line, edges, quantiles)


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return text if len(text) <= 120 else f"{text[:119]}…"
