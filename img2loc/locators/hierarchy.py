"""Zero-shot by names: the most similar country's caption, then that of its cities (StreetCLIP)."""

from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from img2loc.core.errors import ConfigError, GalleryError
from img2loc.core.protocols import Encoder, names_of, scale_of
from img2loc.core.types import Embedding, Guess, Neighbours, Photo, PhotoLike, Rejected, as_photos
from img2loc.gallery.gallery import Gallery
from img2loc.locators.spread import TEMPERATURE, spread_km

Probabilities = NDArray[np.float64]


class Hierarchy:
    """Answers with a city of the most similar country (Haas, Alberti, Skreta, arXiv 2302.00275).

    `countries` and `cities` are galleries of captions: a city's id begins with its country's id and
    "/". The country is the one whose caption is most similar, the city the most similar of that
    country's. With p = softmax(scale · similarity), scale being the encoder's, a city's probability
    is p(country among countries) · p(city among that country's cities). With `soft` it is the mean
    of that and p(city among all cities), and the country is the one whose cities' probabilities add
    up to the most: the one that both levels support. `nearest` cities of the country are shown. The
    spread holds 68 % of all cities' probability. Raises WrongEncoder where encoder and galleries do
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
        for gallery in (countries, cities):
            gallery.require(*names_of(encoder))
            gallery.require_exact()
        self._encoder = encoder
        self._countries = countries
        self._cities = cities
        self._soft = soft
        self._nearest = nearest
        self._scale = scale_of(encoder) or 1 / TEMPERATURE
        row_of = {country: row for row, country in enumerate(countries.metadata.ids())}
        country_of = [city.partition("/")[0] for city in cities.metadata.ids()]
        if extra := sorted(set(country_of) - set(row_of)):
            raise _unmatched(cities, f"has cities of {extra[0]!r}, which {countries.folder} lacks")
        if missing := sorted(set(row_of) - set(country_of)):
            raise _unmatched(cities, f"has no city of {missing[0]!r}, which {countries.folder} has")
        self._country_of = np.array([row_of[country] for country in country_of])
        self._points = cities.metadata.locations()

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        """One guess for each photo, in order."""
        pending: deque[Photo] = deque()

        def queued() -> Iterator[Photo]:
            for photo in as_photos(photos):
                pending.append(photo)
                yield photo

        for encoded in self._encoder.encode(queued()):
            photo = pending.popleft()
            if isinstance(encoded, Rejected):
                yield Guess(photo, "unreadable", detail=encoded.reason)
            else:
                yield self._guess(photo, encoded)

    def _guess(self, photo: Photo, row: Embedding) -> Guess:
        by_country = self._countries.similarities(row[None])[0]
        by_city = self._cities.similarities(row[None])[0]
        p_country = _softmax(self._scale * by_country)
        p_city = p_country[self._country_of] * self._within_country(by_city)
        if self._soft:
            p_city = (p_city + _softmax(self._scale * by_city)) / 2
            p_country = np.bincount(self._country_of, p_city).astype(np.float64)
        country = int(np.argmax(p_country if self._soft else by_country))
        rows = np.flatnonzero(self._country_of == country)
        nearest = rows[np.argsort(-by_city[rows], kind="stable")][: self._nearest]
        cities = tuple(
            self._cities.entry(int(city), float(by_city[city]), float(p_city[city]))
            for city in nearest
        )
        answer = cities[0].location
        label = self._countries.entry(country, float(by_country[country])).label
        then = f"the nearest of its {len(rows)} cities" if len(rows) > 1 else "its only city"
        detail = f"{label} ({p_country[country]:.0%} of {len(p_country)}), then {then}"
        spread = spread_km(answer, self._points, p_city)
        return Guess(photo, "located", answer, spread, Neighbours(cities), detail=detail)

    def _within_country(self, by_city: Embedding) -> Probabilities:
        """Each city's probability among the cities of its country."""
        best = np.full(len(self._countries), -np.inf)
        np.maximum.at(best, self._country_of, by_city)
        # The country's best is taken off before the exponential, which could underflow.
        raw = np.exp(self._scale * (by_city.astype(np.float64) - best[self._country_of]))
        return np.asarray(raw / np.bincount(self._country_of, raw)[self._country_of])


def _softmax(logits: Embedding) -> Probabilities:
    wide = logits.astype(np.float64)
    raw = np.exp(wide - wide.max())
    return np.asarray(raw / raw.sum())


def _unmatched(cities: Gallery, what: str) -> GalleryError:
    return GalleryError(
        f"The gallery {cities.folder} {what}. Build both from recipes with the same place list and"
        " the same split."
    )
