"""Predictions beside the truth: the form in which runs and other people's files are scored."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from img2loc.bench.datasets.benchmark import Truth
from img2loc.bench.runs.run_folder import Run
from img2loc.core.errors import RunError, SourceError
from img2loc.core.geo import EARTH_RADIUS_KM, Array, degrees, distances_km
from img2loc.core.types import GuessStatus
from img2loc.locators.calibration import DAMAGED, DEFAULT_SHARE, Calibration
from img2loc.locators.conformal import Evidence

Distance = Literal["great-circle", "geodesic"]
DISTANCES: dict[Distance, str] = {
    "great-circle": f"great circle on a sphere of {EARTH_RADIUS_KM} km",
    "geodesic": "geodesic on the WGS84 ellipsoid",
}
_LARGEST = 1e9
"""No number of a prediction is larger, in whatever unit."""
STATUSES: tuple[str, ...] = (*get_args(GuessStatus), "missing")
"""The statuses of a guess, and "missing" for a photograph that was not run."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Columns of one row a photograph, in the order of the truth.

    `truth` and `guess` are degrees of shape (n, 2); a guess is NaN exactly where there is no
    answer. `radius_km` (promised for `radius_share` of photographs), `spread_km` (of the evidence),
    `similarity` (of the nearest gallery row) and `excluded` (gallery rows kept out for this photo)
    are NaN where unknown. `checked` is where rows of the photo's photographer
    could be kept out, shape (n,).
    """

    name: str
    ids: tuple[str, ...]
    authors: tuple[str, ...]
    truth: Array
    guess: Array
    status: tuple[str, ...]
    radius_km: Array
    radius_share: Array
    spread_km: Array
    similarity: Array
    excluded: Array
    checked: NDArray[np.bool_]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        """Photographs, answered or not."""
        return len(self.ids)

    @property
    def answered(self) -> NDArray[np.bool_]:
        """Which photographs have an answer, shape (n,)."""
        return ~np.isnan(self.guess[:, 0])

    @property
    def vagueness_km(self) -> Array:
        """What sorts sure answers from unsure ones: the radius, in a run without one the spread."""
        return self.spread_km if np.isnan(self.radius_km).all() else self.radius_km

    def errors_km(self, distance: Distance = "great-circle") -> Array:
        """Distances from guess to truth, shape (n,); NaN where there is no answer."""
        if distance == "great-circle":
            return distances_km(self.guess, self.truth)
        from geographiclib.geodesic import Geodesic

        errors = np.full(len(self), np.nan)
        for row in np.flatnonzero(self.answered):
            line = Geodesic.WGS84.Inverse(*self.guess[row], *self.truth[row], Geodesic.DISTANCE)
            errors[row] = line["s12"] / 1000
        return errors


def of_run(run: Run, name: str = "") -> Outcomes:
    """The outcomes of a run folder. Raises SourceError where it has no photographs."""
    parts = [str(run.about[key]) for key in ("benchmark", "locator", "lmm") if run.about.get(key)]
    found = gather(name or ", ".join(parts) or "run", run.truth, run.predictions, run.about)
    known = recorded_calibration(run.about)
    if known is None or DEFAULT_SHARE not in known.shares:
        return found
    # Its radius is not on its lines: a run may be finished when another calibration is there.
    radius = known.radius_km(Evidence(found.spread_km, found.similarity), DEFAULT_SHARE)
    radius[~found.answered] = np.nan
    shares = np.where(np.isnan(radius), np.nan, DEFAULT_SHARE)
    return replace(found, radius_km=radius, radius_share=shares)


def recorded_calibration(about: Mapping[str, Any]) -> Calibration | None:
    """The calibration that a run's locator had when it began. Raises RunError."""
    record = about.get("calibration")
    try:
        return None if record is None else Calibration.from_record(record)
    except DAMAGED as error:
        raise RunError(
            f"The calibration in a run.json is damaged ({error!r}). Remove it there, or give"
            " another: --calibration FILE."
        ) from error


def gather(
    name: str,
    truth: Sequence[Truth],
    predictions: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, Any],
) -> Outcomes:
    """The outcomes of predictions by id; a photograph without one is "missing".

    Raises SourceError without photographs.
    """
    if not truth:
        raise SourceError("There are no photographs to score: the truth has no rows.")
    records = [_known(predictions.get(row.id, {"status": "missing"})) for row in truth]
    guess = np.full((len(truth), 2), np.nan)
    status = []
    for row, record in enumerate(records):
        kind = str(record.get("status"))
        at = (_number(record.get("lat")), _number(record.get("lon")))
        if kind == "located" and abs(at[0]) <= 90 and abs(at[1]) <= 180:
            guess[row] = at
        elif kind not in STATUSES or kind == "located":
            kind = "unparsed"
        status.append(kind)

    def column(key: str) -> Array:
        return np.array([_number(record.get(key)) for record in records])

    return Outcomes(
        name=name,
        ids=tuple(row.id for row in truth),
        authors=tuple(row.author for row in truth),
        truth=degrees([row.location for row in truth]),
        guess=guess,
        status=tuple(status),
        radius_km=column("radius_km"),
        radius_share=column("radius_share"),
        spread_km=column("spread_km"),
        similarity=column("top_similarity"),
        excluded=column("excluded"),
        checked=np.array(
            [
                record.get("photographer_checked", record.get("excluded") is not None) is True
                for record in records
            ]
        ),
        about=about,
    )


def searched(about: Mapping[str, Any]) -> str | None:
    """What the gallery of a run is of: "photos", "points", "texts", "nothing"; None: not known."""
    if "gallery" not in about:
        return None
    if about["gallery"] is None and not about.get("gallery_rows"):
        return "nothing"
    return str(((about.get("config") or {}).get("gallery") or {}).get("of") or "photos")


def _known(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record of version 0.1.0 called its spread a radius, and promised no share for it."""
    if "lat" not in record or "spread_km" in record or "radius_share" in record:
        return record
    return {**record, "spread_km": record.get("radius_km"), "radius_km": None}


def _number(value: object) -> float:
    """A finite number, or NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value) if -_LARGEST <= value <= _LARGEST else math.nan
