"""A locator that would rather say nothing than something too vague."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from img2loc.core.protocols import Locator
from img2loc.core.types import Guess, PhotoLike


class MaxRadius:
    """Gives another locator's guesses, but calls those "unsure" whose radius is over `max_radius_km`, or not known."""

    def __init__(self, locator: Locator, max_radius_km: float) -> None:
        self._locator = locator
        self._most = max_radius_km

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        for guess in self._locator.locate(photos):
            at, radius = guess.location, guess.radius_km
            if at is None or (radius is not None and radius <= self._most):
                yield guess
                continue
            how_far = (
                "nothing says how far"
                if radius is None
                else f"the evidence scatters over {radius:,.0f} km"
            )
            detail = (
                f"best guess {at.lat:.4f}, {at.lon:.4f}, but {how_far}, and at most {self._most:g}"
                " km were asked for"
            )
            yield replace(guess, status="unsure", location=None, detail=detail)
