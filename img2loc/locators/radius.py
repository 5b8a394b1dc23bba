"""The radius of another locator's guesses, by its calibration, and a limit on it."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from img2loc.core.protocols import Locator
from img2loc.core.types import Guess, PhotoLike
from img2loc.locators.calibration import Calibration
from img2loc.locators.conformal import Evidence


class Calibrated:
    """Another locator's guesses with a radius that holds for `share` of such photographs.

    Those of a larger radius than `max_radius_km` become "unsure", and so do those of none. Raises
    ConfigError for a share that the calibration does not have.
    """

    def __init__(
        self,
        locator: Locator,
        calibration: Calibration,
        share: float,
        max_radius_km: float | None = None,
    ) -> None:
        calibration.radius_km(Evidence(np.empty(0), np.empty(0)), share)
        self._locator, self._calibration = locator, calibration
        self._share, self._max_km = share, max_radius_km

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        for guess in self._locator.locate(photos):
            if guess.location is None:
                yield guess
                continue
            found = float(self._calibration.radius_km(evidence_of([guess]), self._share)[0])
            radius = None if np.isnan(found) else found
            known = replace(
                guess, radius_km=radius, radius_share=None if radius is None else self._share
            )
            if self._max_km is None or (radius is not None and radius <= self._max_km):
                yield known
                continue
            within = (
                "no radius can be promised"
                if radius is None
                else f"its radius is {radius:,.0f} km ({self._share:.0%})"
            )
            detail = (
                f"best guess {guess.location.lat:.4f}, {guess.location.lon:.4f}, but {within}, and"
                f" at most {self._max_km:g} km were asked for"
            )
            yield replace(known, status="unsure", location=None, best=guess.location, detail=detail)


def evidence_of(guesses: Iterable[Guess]) -> Evidence:
    """What is known of some guesses without their truth."""
    spreads, similarities = [], []
    for guess in guesses:
        spreads.append(np.nan if guess.spread_km is None else guess.spread_km)
        nearest = (entry.similarity for entry in guess.neighbours.nearest)
        similarities.append(max(nearest, default=np.nan))
    return Evidence(np.array(spreads, dtype=float), np.array(similarities, dtype=float))
