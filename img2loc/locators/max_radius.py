"""Refuses guesses that are too vague: a limit on another locator's radius."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from img2loc.core.protocols import Locator
from img2loc.core.types import Guess, PhotoLike


class MaxRadius:
    """Another locator's guesses; those of a larger radius, or of none, become "unsure"."""

    def __init__(self, locator: Locator, max_radius_km: float) -> None:
        self._locator = locator
        self._max_km = max_radius_km

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        for guess in self._locator.locate(photos):
            answer, radius = guess.location, guess.radius_km
            if answer is None or (radius is not None and radius <= self._max_km):
                yield guess
                continue
            scatter = (
                f"the evidence scatters over {radius:,.0f} km"
                if radius
                else "its radius is unknown"
            )
            detail = (
                f"best guess {answer.lat:.4f}, {answer.lon:.4f}, but {scatter}, and at most"
                f" {self._max_km:g} km were asked for"
            )
            yield replace(guess, status="unsure", location=None, detail=detail)
