"""Zero-shot by name: the nearest country's caption, then the nearest of that country's cities' captions (StreetCLIP)."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.geo import spread_km
from img2loc.core.protocols import Encoder, scale_of
from img2loc.core.types import Embedding, Guess, Neighbours, Photo, PhotoLike, Rejected, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.locators.radius import FINEST_KM, SHARE, TEMPERATURE

Probabilities = NDArray[np.float64]


class Hierarchy:
    """Answers with the coordinates of a city of the chosen country (Haas, Alberti, Skreta, arXiv 2302.00275).

    `countries` and `cities` are galleries of captions: a city's id begins with its country's id and
    "/". The country is the one whose caption is most similar, the city the most similar of that
    country's. With p = softmax(scale · similarity), scale being the encoder's, a city's probability
    is p(country among countries) · p(city among that country's cities). With `soft` it is the mean
    of that and p(city among all cities), and the country is the one whose cities' probabilities add
    up to the most: one that both levels believe in. `nearest` cities of the country are shown. The
    radius holds 68 % of all cities' probability. Raises WrongEncoder where encoder and galleries do
    not belong together, GalleryError where the galleries do not.
    """

    def __init__(
        self,
        encoder: Encoder,
        countries: Gallery,
        cities: Gallery,
        soft: bool = False,
        nearest: int = 5,
    ) -> None:
        if nearest < 1:
            raise ConfigError(f"nearest is {nearest}; it must be 1 or more.")
        countries.require(encoder.name)
        cities.require(encoder.name)
        for gallery in (countries, cities):
            gallery.require_exact()
        self._encoder = encoder
        self._countries = countries
        self._cities = cities
        self._soft = soft
        self._nearest = nearest
        self._scale = scale_of(encoder) or 1 / TEMPERATURE
        number = {country: row for row, country in enumerate(countries.metadata.ids())}
        units = [city.partition("/")[0] for city in cities.metadata.ids()]
        if lost := sorted(set(units) - set(number)):
            raise GalleryError(
                _unmatched(
                    cities, f"has cities of {lost[0]!r}, which {countries.folder} does not have"
                )
            )
        if lost := sorted(set(number) - set(units)):
            raise GalleryError(
                _unmatched(cities, f"has no city of {lost[0]!r}, which {countries.folder} has")
            )
        self._country_of = np.array([number[unit] for unit in units])
        self._points = cities.metadata.locations()

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        waiting: deque[Photo] = deque()

        def noted() -> Iterator[Photo]:
            for photo in as_photos(photos):
                waiting.append(photo)
                yield photo

        for encoded in self._encoder.encode(noted()):
            photo = waiting.popleft()
            if isinstance(encoded, Rejected):
                yield Guess(photo, "unreadable", detail=encoded.reason)
            else:
                yield self._guess(photo, encoded)

    def _guess(self, photo: Photo, row: Embedding) -> Guess:
        by_country = self._countries.similarities(row[None])[0]
        by_city = self._cities.similarities(row[None])[0]
        belief = _softmax(self._scale * by_country)
        within: Probabilities = np.exp(
            self._scale * (by_city.astype(np.float64) - self._best_in_country(by_city))
        )
        within = within / np.bincount(self._country_of, within)[self._country_of]
        likely = belief[self._country_of] * within
        if self._soft:
            likely = (likely + _softmax(self._scale * by_city)) / 2
            belief = np.bincount(self._country_of, likely).astype(np.float64)
        country = int(np.argmax(belief if self._soft else by_country))
        own = np.flatnonzero(self._country_of == country)
        shown = own[np.argsort(-by_city[own], kind="stable")][: self._nearest]
        cities = tuple(
            self._cities.entry(int(city), float(by_city[city]), float(likely[city]))
            for city in shown
        )
        answer = cities[0].location
        named = self._countries.entry(country, float(by_country[country]))
        then = f"the nearest of its {len(own)} cities" if len(own) > 1 else "its only city"
        return Guess(
            photo,
            "located",
            answer,
            round(max(FINEST_KM, spread_km(answer, self._points, likely, SHARE)), 1),
            Neighbours(cities),
            detail=f"{named.label} ({belief[country]:.0%} of {len(belief)}), then {then}",
        )

    def _best_in_country(self, by_city: Embedding) -> Probabilities:
        """For each city, the highest similarity in its country: taken off before the exponential, which could underflow."""
        best = np.full(len(self._countries), -np.inf)
        np.maximum.at(best, self._country_of, by_city)
        spread: Probabilities = best[self._country_of]
        return spread


def _softmax(logits: Embedding) -> Probabilities:
    wide = logits.astype(np.float64)
    raw = np.exp(wide - wide.max())
    return np.asarray(raw / raw.sum())


def _unmatched(cities: Gallery, what: str) -> str:
    return (
        f"The gallery {cities.folder} {what}. Build both from recipes with the same place list and"
        " the same split."
    )
