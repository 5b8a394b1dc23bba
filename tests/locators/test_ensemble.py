"""Ensembles: agreement on the sphere, verification by a point tower."""

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from img2loc.core.errors import ConfigError, PromptError
from img2loc.core.geo import degrees, densest, distance_km, distances_km, spread_km
from img2loc.core.types import Embedding, Embeddings, Location, Photo, Rejected
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from img2loc.locators.ensemble import Ensemble
from tests.toys import PixelEncoder

locations = st.builds(Location, st.floats(-90, 90), st.floats(-180, 180))


def ensemble(gallery: Gallery, replies: list[str], **options: object) -> Ensemble:
    templates = Template.load("nearest-farthest"), Template.load("zeroshot")
    return Ensemble(PixelEncoder(), gallery, *templates, Scripted(replies), **options)  # type: ignore[arg-type]


def test_one_prompt_for_each_count_and_sample(gallery: Gallery, toy_photos: list[Path]) -> None:
    locator = ensemble(gallery, ["48.85, 2.29"], counts=(0, 2, 5), samples=2)
    for guess in locator.locate(toy_photos[:3]):
        assert len(guess.prompts) == len(guess.replies) == 6
        shown = [words.count("), (") for words in guess.prompts]
        assert shown == [0, 0, 2, 2, 8, 8]  # n - 1 separators in each of two lists
        assert guess.location == Location(48.85, 2.29)


def test_the_majority_outvotes_a_stray_reply(gallery: Gallery, toy_photos: list[Path]) -> None:
    replies = ["48.85, 2.29", "-33.86, 151.21", "48.86, 2.30", "48.84, 2.31"]
    (guess,) = ensemble(gallery, replies, retrieved=3).locate(toy_photos[:1])
    assert guess.location is not None
    assert distance_km(guess.location, Location(48.85, 2.30)) < 5
    assert guess.spread_km is not None
    assert guess.spread_km > 1000  # the stray reply and the neighbours are evidence too
    (sure,) = ensemble(gallery, ["48.85, 2.29"] * 4, retrieved=0).locate(toy_photos[:1])
    assert sure.spread_km == 1.0
    (lone,) = ensemble(gallery, ["48.85, 2.29", "lovely"], retrieved=0, counts=(0, 2)).locate(
        toy_photos[:1]
    )
    assert (lone.status, lone.spread_km) == ("located", None)  # one reply agrees with nobody


def test_without_any_coordinates_the_first_reply_says_why(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    (guess,) = ensemble(gallery, ["I'm sorry, I can't help.", "lovely"]).locate(toy_photos[:1])
    assert (guess.status, guess.location) == ("refused", None)


def test_unreadable_photos_keep_their_place(
    gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    mixed = [tmp_path / "absent.jpg", toy_photos[0], tmp_path / "absent.jpg"]
    assert [guess.status for guess in ensemble(gallery, ["1.55, 2.55"]).locate(mixed)] == [
        "unreadable",
        "located",
        "unreadable",
    ]


class PointTower(PixelEncoder):
    """A hand-made verifier: the photo's colour is a place, and a point's vector points to it."""

    def __init__(self, truth: Location) -> None:
        super().__init__()
        self._truth = truth

    def encode(self, photos: Iterable[Photo]) -> Iterator[Embedding | Rejected]:
        for _ in photos:
            yield self.encode_points([self._truth])[0]

    def encode_points(self, points: Sequence[Location]) -> Embeddings:
        angles = np.radians([(point.lat, point.lon) for point in points])
        lat, lon = angles[:, 0], angles[:, 1]
        return np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1
        ).astype(np.float32)


def test_verification_picks_the_planted_candidate(gallery: Gallery, toy_photos: list[Path]) -> None:
    planted = Location(-33.86, 151.21)
    replies = ["48.85, 2.29", "48.86, 2.30", "-33.86, 151.21", "48.84, 2.31"]
    options = {"verifier": PointTower(planted), "choose": "verify"}
    (guess,) = ensemble(gallery, replies, **options).locate(toy_photos[:1])
    assert guess.location == planted
    (guess,) = ensemble(
        gallery, replies[:2], verifier=PointTower(Location(5, 10)), choose="verify"
    ).locate(toy_photos[5:6])
    assert guess.location == Location(5, 10)  # a retrieved coordinate can win as well
    assert "a neighbour's place, by verify" in guess.detail


def test_what_does_not_fit_is_refused(gallery: Gallery) -> None:
    for options in (
        {"counts": ()},
        {"counts": (-1,)},
        {"samples": 0},
        {"retrieved": -1},
        {"bandwidth_km": 0.0},
    ):
        with pytest.raises(ConfigError, match="must be"):
            ensemble(gallery, ["x"], **options)
    with pytest.raises(ConfigError, match="needs a verifier"):
        ensemble(gallery, ["x"], choose="verify")
    with pytest.raises(PromptError, match="shows no nearest"):
        zeroshot = Template.load("zeroshot")
        Ensemble(PixelEncoder(), gallery, zeroshot, zeroshot, Scripted(["x"]))


@given(st.lists(locations, min_size=1, max_size=12), st.floats(1, 500))
def test_the_chosen_candidate_is_one_of_them_and_the_densest(
    points: list[Location], bandwidth: float
) -> None:
    weights = np.ones(len(points))
    chosen = densest(degrees(points), weights, bandwidth)
    density = [
        sum(math.exp(-0.5 * (distance_km(a, b) / bandwidth) ** 2) for b in points) for a in points
    ]
    assert density[chosen] >= max(density) * (1 - 1e-6)


@given(locations, st.integers(1, 8))
def test_one_candidate_or_all_equal_is_that_candidate(point: Location, count: int) -> None:
    points, weights = degrees([point] * count), np.ones(count)
    assert densest(points, weights, 25.0) == 0
    assert spread_km(point, points, weights, 0.68) == pytest.approx(0, abs=1e-3)


@given(st.lists(locations, min_size=1, max_size=10), st.floats(-180, 180))
def test_turning_the_globe_turns_the_choice(points: list[Location], turn: float) -> None:
    """Nothing depends on where the antimeridian lies."""
    turned = [Location(point.lat, (point.lon + turn + 180) % 360 - 180) for point in points]
    weights = np.linspace(1, 2, len(points))
    first, second = (
        densest(degrees(points), weights, 100.0),
        densest(degrees(turned), weights, 100.0),
    )
    between = distances_km(degrees(points)[:, None], degrees(points)[None])
    density = np.exp(-0.5 * (between / 100.0) ** 2) @ weights
    assert density[first] == pytest.approx(
        density[second], rel=1e-6
    )  # ties may fall either way, but nothing sparser wins
    spread = spread_km(points[0], degrees(points), weights, 0.68)
    assert spread_km(turned[0], degrees(turned), weights, 0.68) == pytest.approx(spread, abs=0.01)


def test_at_the_pole_and_the_antimeridian_neighbours_are_near() -> None:
    pole = degrees([Location(89.99, 0), Location(89.99, 180), Location(0, 0)])
    assert densest(pole, np.array([0.4, 0.4, 0.5]), 25.0) == 0
    seam = degrees([Location(0, 0), Location(10, 179.99), Location(10, -179.99)])
    assert densest(seam, np.array([0.5, 0.4, 0.4]), 25.0) == 1


def test_nan_is_no_candidate() -> None:
    with pytest.raises(ValueError, match="is not between"):
        Location(float("nan"), 0)


def test_a_photo_is_hashed_once_for_all_its_prompts(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    reads: list[int] = []

    def content() -> bytes:
        reads.append(1)
        return toy_photos[0].read_bytes()

    def read_for(counts: tuple[int, ...]) -> tuple[int, int]:
        reads.clear()
        (guess,) = ensemble(gallery, ["48.85, 2.29"], counts=counts, samples=2).locate(
            [Photo(Path("a.jpg"), content)]
        )
        return len({reply.key for reply in guess.replies}), len(reads)

    (few, once), (many, as_often) = read_for((0,)), read_for((0, 2, 5, 9))
    assert (few, many) == (2, 8)
    assert as_often == once
