"""A calibration's file, what it refuses, and the radius that it gives a locator's guesses."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from img2loc.core.errors import ConfigError
from img2loc.core.types import Guess, Location, Neighbour, Neighbours, Photo, PhotoLike, as_photos
from img2loc.locators.calibration import NOT_FOR, Calibration, calibrate
from img2loc.locators.conformal import Evidence
from img2loc.locators.radius import Calibrated, evidence_of
from img2loc.locators.spread import neighbours_spread_km, spread_km

OF = {"locator": {"kind": "retrieval"}, "gallery": {"rows": 9}, "encoder": "x", "prompts": {}}


def known(n: int = 400, of: dict[str, Any] | None = None) -> Calibration:
    random = np.random.default_rng(0)
    spread = np.exp(random.normal(3, 1, n))
    errors = spread * np.abs(random.normal(size=n))
    evidence = Evidence(spread, np.full(n, np.nan))
    return calibrate(
        errors,
        evidence,
        np.arange(n),
        [0.95],
        of=OF if of is None else of,
        measured_on="a run",
        counted="photos",
    )


def test_it_survives_its_file(tmp_path: Path) -> None:
    made = known()
    made.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == made
    assert made.shares == (0.5, 0.68, 0.9, 0.95)
    record = json.loads((tmp_path / "c.json").read_text())
    assert record["not_for"] == NOT_FOR
    assert (record["photos"], record["clusters"], record["counted"]) == (400, 400, "photos")


def test_a_share_that_the_answers_do_not_reach_has_no_radius(tmp_path: Path) -> None:
    made = calibrate(
        np.arange(100.0),
        Evidence(np.full(100, np.nan), np.full(100, np.nan)),
        np.arange(100),
        [0.999],
        of=OF,
        measured_on="a run",
        counted="photos",
    )
    made.save(tmp_path / "c.json")
    again = Calibration.load(tmp_path / "c.json")
    unknown = Evidence(np.array([np.nan]), np.array([np.nan]))
    assert np.isnan(again.radius_km(unknown, 0.999)).all()
    (guess,) = Calibrated(Fixed([(None, 0.5)]), again, 0.999).locate(["a.jpg"])
    assert (guess.status, guess.radius_km, guess.radius_share) == ("located", None, None)


def test_few_answers_promise_nothing() -> None:
    with pytest.raises(ConfigError, match="Nothing can be promised: a run has 99 answers"):
        known(99)


@pytest.mark.parametrize("share", [0.0, 1.0, -1.0, 1.5])
def test_a_share_lies_between_0_and_1(share: float) -> None:
    one = np.ones(100)
    with pytest.raises(ConfigError, match="not between 0 and 1"):
        calibrate(
            *(one, Evidence(one, one), np.arange(100), [share]),
            of=OF,
            measured_on="a run",
            counted="photos",
        )


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("conformal"),
        lambda record: record.update(format=2),
        lambda record: record["conformal"].update(score="magic"),
        lambda record: record["conformal"].update(line=[1.0]),
        lambda record: record["conformal"].update(line=["a", "b"]),
        lambda record: record["conformal"]["quantiles"].update({"0.5": [1.0]}),
        lambda record: record["conformal"]["quantiles"].update({"x": [1.0, 1.0]}),
        lambda record: record["conformal"].update(edges=[3.0, 1.0]),
        lambda record: record.update(of=3),
    ],
)
def test_a_damaged_file_is_a_message(tmp_path: Path, damage: Any) -> None:
    record = known().record()
    damage(record)
    (tmp_path / "c.json").write_text(json.dumps(record))
    with pytest.raises(ConfigError, match="is no calibration"):
        Calibration.load(tmp_path / "c.json")


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '"x"', "\x00"])
def test_what_is_no_calibration_is_a_message(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ConfigError, match="is no calibration"):
        Calibration.load(tmp_path / "c.json")
    with pytest.raises(ConfigError, match="There is no calibration"):
        Calibration.load(tmp_path / "none.json")


@pytest.mark.parametrize("part", ["locator", "gallery", "encoder", "prompts"])
def test_another_part_is_refused(part: str) -> None:
    with pytest.raises(ConfigError, match=f"c.json is of another {part}: .* Calibrate this one"):
        known().require({**OF, part: "other"}, "c.json")
    known().require(OF, "c.json")
    with pytest.raises(ConfigError, match="does not say what made them"):
        known(of={}).require(OF, "c.json")


class Fixed:
    """A locator with answers of known evidence."""

    def __init__(self, evidence: list[tuple[float | None, float]]) -> None:
        self._evidence = evidence

    def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
        for photo, (spread, similarity) in zip(as_photos(photos), self._evidence, strict=True):
            near = Neighbours((Neighbour(Location(1, 2), similarity, "n"),))
            yield Guess(photo, "located", Location(3, 4), spread, near, detail="why")


def test_guesses_get_a_radius_and_its_share() -> None:
    made = known()
    guesses = list(Calibrated(Fixed([(5.0, 0.5), (500.0, 0.5)]), made, 0.9).locate(["a", "b"]))
    assert [guess.radius_share for guess in guesses] == [0.9, 0.9]
    narrow, wide = (guess.radius_km or 0 for guess in guesses)
    assert 1 <= narrow < wide
    assert made.radius_km(evidence_of(guesses), 0.9).tolist() == [narrow, wide]
    (surer,) = Calibrated(Fixed([(5.0, 0.5)]), made, 0.5).locate(["a"])
    assert (surer.radius_km or 0) < narrow


def test_no_radius_is_below_a_kilometre_or_beyond_the_earth() -> None:
    random = np.random.default_rng(0)
    unknown = np.full(400, np.nan)
    for errors, expected in ((np.zeros(400), 1.0), (np.full(400, 19_000.0), 19_000.0)):
        made = calibrate(
            errors * random.uniform(0.9999, 1, 400),
            Evidence(unknown, unknown),
            np.arange(400),
            of=OF,
            measured_on="a run",
            counted="photos",
        )
        (found,) = made.radius_km(Evidence(np.array([np.nan]), np.array([np.nan])), 0.9)
        assert found == pytest.approx(expected, rel=1e-3)


def test_a_larger_radius_than_asked_for_is_unsure_and_keeps_the_best_guess() -> None:
    made = known()
    locator = Fixed([(5.0, 0.5), (500.0, 0.5)])
    plain = list(Calibrated(locator, made, 0.9).locate(["a", "b"]))
    most = plain[0].radius_km
    assert most is not None
    sure, unsure = Calibrated(locator, made, 0.9, most).locate(["a", "b"])
    assert sure == plain[0]
    assert (unsure.status, unsure.location, unsure.best) == ("unsure", None, Location(3, 4))
    assert unsure.radius_km == plain[1].radius_km
    assert "best guess 3.0000, 4.0000, but its radius is" in unsure.detail


def test_a_guess_without_a_place_stays_as_it_is() -> None:
    refused = Guess(Photo(Path("a.jpg")), "refused", detail="declined")

    class Refusing:
        def locate(self, photos: Iterable[PhotoLike]) -> Iterator[Guess]:
            yield refused

    assert list(Calibrated(Refusing(), known(), 0.9, 1.0).locate(["a.jpg"])) == [refused]


def test_a_share_without_a_quantile_is_a_message() -> None:
    with pytest.raises(ConfigError, match=r"no radius for a share of 0\.8.*--share 0\.8"):
        Calibrated(Fixed([]), known(), 0.8)


def test_many_photographs_of_one_place_are_one_witness() -> None:
    here, there = Location(48.8867, 2.3431), Location(27.1751, 78.0421)
    ten = [Neighbour(here, 0.62 - number / 1000, str(number)) for number in range(10)]
    other = Neighbour(there, 0.60, "taj")
    spread = neighbours_spread_km(here, [*ten, other])
    assert spread is not None
    assert spread > 6000
    assert neighbours_spread_km(here, ten) == 1.0
    far_behind = Neighbour(there, 0.2, "taj")
    assert neighbours_spread_km(here, [*ten, far_behind]) == 1.0


def test_probability_that_the_neighbours_do_not_hold_is_spread_over_the_earth() -> None:
    at = Location(10, 20)
    points = np.array([[10.0, 20.0], [10.0, 21.0]])
    # 0.5 here, and 0.5 evenly: 0.18 of 0.5 is 36 % of the sphere, a cap of 73.7 degrees.
    found = spread_km(at, points, np.array([0.5, 0.0]))
    assert found == pytest.approx(np.arccos(1 - 2 * 0.36) * 6371.0088, abs=1)
    assert spread_km(at, points, np.array([0.5, 0.5])) == pytest.approx(109.5, abs=0.1)
    assert spread_km(at, points, np.array([5.0, 5.0])) == pytest.approx(109.5, abs=0.1)
    assert spread_km(at, points, np.array([0.69, 0.0])) == 1.0
    assert spread_km(at, points[:1], np.array([1.0])) is None
    nowhere = spread_km(at, points, np.array([0.0, 0.0]))
    assert nowhere == pytest.approx(np.arccos(1 - 2 * 0.68) * 6371.0088, abs=1)
