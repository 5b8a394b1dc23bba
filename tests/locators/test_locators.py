"""Locators as streams: every photograph gets its guess, in order, whatever happens to others."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from img2loc.core.errors import BackendError, ConfigError, PromptError, WrongEncoder
from img2loc.core.geo import distance_km
from img2loc.core.types import Location, Photo, Prompt, Reply
from img2loc.gallery.gallery import Gallery
from img2loc.gallery.random_rows import random_rows
from img2loc.lmm.cache import Cached
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from img2loc.locators.ensemble import Ensemble
from img2loc.locators.img2loc import Img2Loc
from img2loc.locators.retrieval import Retrieval
from img2loc.locators.zeroshot import Zeroshot
from tests.toys import PixelEncoder


def test_retrieval_finds_a_photo_of_its_own(gallery: Gallery, toy_photos: list[Path]) -> None:
    for decide in ("nearest", "mode"):
        guesses = list(Retrieval(PixelEncoder(), gallery, decide, nearest=3).locate(toy_photos))
        assert [guess.location for guess in guesses] == [
            Location(seed, seed * 2) for seed in range(30)
        ]
        assert all(
            guess.status == "located" and len(guess.neighbours.nearest) == 3 for guess in guesses
        )
        assert [str(guess.photo.path) for guess in guesses] == [str(photo) for photo in toy_photos]


def test_the_spread_says_how_far_the_evidence_scatters(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    (one,) = Retrieval(PixelEncoder(), gallery, nearest=1).locate(toy_photos[:1])
    (sixteen,) = Retrieval(PixelEncoder(), gallery, nearest=16).locate(toy_photos[:1])
    assert one.spread_km == sixteen.spread_km  # measured over sixteen, however few decide
    (scattered,) = Retrieval(PixelEncoder(), gallery, nearest=30).locate([toy_photos[0]])
    assert scattered.spread_km is not None
    assert scattered.location is not None
    away = [distance_km(scattered.location, near.location) for near in scattered.neighbours.nearest]
    assert 1.0 <= scattered.spread_km <= max(away) + 0.1


class Silent:
    """An LMM that answers, refuses, fails and is cut off in turn."""

    def ask(self, prompts: Iterator[Prompt]) -> Iterator[Reply]:
        answers = [
            Reply("(10.5, 20.5)", "m", "answered"),
            Reply("", "m", "refused", detail="no"),
            Reply("", "m", "failed", detail="broken"),
            Reply("It could be 10.55, 20.55 or", "m", "truncated", detail="cut off"),
            Reply('{"latitude": 10.5, "longitude": 2', "m", "truncated", detail="cut off"),
            Reply("I'm sorry, but I can't help with identifying places.", "m", "answered"),
            Reply("What a lovely photo!", "m", "answered"),
        ]
        for number, _ in enumerate(prompts):
            yield answers[number % len(answers)]


def test_every_outcome_is_a_status_in_its_place(
    gallery: Gallery, toy_photos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"junk")
    mixed: list[Path] = [broken, *toy_photos[:3], broken, broken, *toy_photos[3:7], broken]
    expected = ["unreadable", "located", "refused", "failed", "unreadable", "unreadable"]
    expected += ["located", "unparsed", "refused", "unparsed", "unreadable"]
    template = Template.load("nearest-farthest")
    img2loc = Img2Loc(PixelEncoder(), gallery, template, Silent(), nearest=4, farthest=4)  # type: ignore[arg-type]
    zeroshot = Zeroshot(Template.load("zeroshot"), Silent())  # type: ignore[arg-type]
    for locator in (img2loc, zeroshot):
        guesses = list(locator.locate(mixed))
        assert [guess.status for guess in guesses] == expected
        assert [guess.photo.path for guess in guesses] == mixed
        assert all((guess.location is None) == (guess.status != "located") for guess in guesses)
        assert guesses[1].location == Location(10.5, 20.5)


def test_img2loc_shows_the_lmm_both_ends(gallery: Gallery, toy_photos: list[Path]) -> None:
    locator = Img2Loc(
        PixelEncoder(),
        gallery,
        Template.load("nearest-farthest"),
        Scripted(["1.5, 2.5"]),
        nearest=2,
        farthest=3,
    )
    (guess,) = locator.locate(toy_photos[4:5])
    assert (len(guess.neighbours.nearest), len(guess.neighbours.farthest)) == (2, 3)
    assert "most similar first: (4.0000, 8.0000), (" in guess.prompts[0]
    for entry in (*guess.neighbours.nearest, *guess.neighbours.farthest):
        assert f"({entry.location.lat:.4f}, {entry.location.lon:.4f})" in guess.prompts[0]
    assert guess.spread_km is not None
    assert guess.replies[0].text == "1.5, 2.5"


def test_the_control_shows_random_rows_in_place_of_the_nearest(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    template, lmm = Template.load("nearest"), Scripted(["1, 2"])
    shown = {}
    for count in (4, 8, 30):
        control = Img2Loc(*(PixelEncoder(), gallery, template, lmm, count, 0), random_nearest=True)
        guesses = list(control.locate(toy_photos))
        shown[count] = [[near.id for near in guess.neighbours.nearest] for guess in guesses]
        assert all(len(set(ids)) == count for ids in shown[count])
    assert [ids[:4] for ids in shown[8]] == shown[4]
    assert len({tuple(ids) for ids in shown[4]}) == len(toy_photos)
    own = sum(photo.name == ids[0] for photo, ids in zip(toy_photos, shown[4], strict=True))
    assert own <= 4  # The nearest row of each is its own; at random it is one of thirty.
    (left,) = {tuple(sorted(ids)) for ids in shown[30]}
    assert len(left) == 30


def test_the_control_keeps_to_exclusions(gallery: Gallery, toy_photos: list[Path]) -> None:
    drawn = random_rows(gallery, Photo(toy_photos[0]), 30, excluded=[0, 5])
    assert {near.id for near in drawn} == {photo.name for photo in toy_photos} - {"0.jpg", "5.jpg"}


@pytest.mark.parametrize(("nearest", "farthest"), [(16, 16), (30, 30), (5, 28), (2, 3)])
def test_no_row_of_a_small_gallery_is_shown_as_near_and_as_far(
    gallery: Gallery, toy_photos: list[Path], nearest: int, farthest: int
) -> None:
    locator = Img2Loc(
        *(PixelEncoder(), gallery, Template.load("nearest-farthest"), Scripted(["1.5, 2.5"])),
        *(nearest, farthest),
    )
    (guess,) = locator.locate(toy_photos[4:5])
    near, far = (
        [entry.id for entry in side]
        for side in (guess.neighbours.nearest, guess.neighbours.farthest)
    )
    assert not set(near) & set(far)
    assert len(near) + len(far) == min(nearest + farthest, len(gallery))
    assert min(len(near), len(far)) >= min(nearest, farthest) // 2
    assert min(one.similarity for one in guess.neighbours.nearest) >= max(
        one.similarity for one in guess.neighbours.farthest
    )


def test_over_points_the_lmm_is_told_of_places(gallery: Gallery, toy_photos: list[Path]) -> None:
    points = Gallery(
        *(gallery.folder, {**gallery.manifest, "of": "points"}, gallery.index, gallery.metadata)
    )
    template, lmm = Template.load("nearest-farthest"), Scripted(["1.5, 2.5"])
    img2loc = Img2Loc(PixelEncoder(), points, template, lmm)
    ensemble = Ensemble(
        *(PixelEncoder(), points, template, Template.load("zeroshot"), lmm), counts=[3]
    )
    for locator in (img2loc, ensemble):
        (guess,) = locator.locate(toy_photos[:1])
        assert "places that look most similar" in guess.prompts[0]
        assert "photographs" not in guess.prompts[0]


def test_zeroshot_has_no_evidence_and_so_no_spread(toy_photos: list[Path]) -> None:
    (guess,) = Zeroshot(Template.load("zeroshot"), Scripted(["1.5, 2.5"])).locate(toy_photos[:1])
    assert (guess.status, guess.spread_km, guess.neighbours.nearest) == ("located", None, ())


def test_streams_are_lazy(gallery: Gallery, toy_photos: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield toy_photos[taken % 30]

    for locator in (
        Retrieval(PixelEncoder(), gallery),
        Img2Loc(PixelEncoder(), gallery, Template.load("nearest-farthest"), Scripted(["1.5, 2.5"])),
    ):
        stream = locator.locate(endless())
        for _ in range(5):
            next(stream)
    assert taken <= 12


def test_a_long_run_of_unreadable_photos_is_not_held_back(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    taken = 0

    def mostly_broken() -> Iterator[Path]:
        nonlocal taken
        for path in [Path("absent"), toy_photos[0], *[Path("absent")] * 1000, toy_photos[1]]:
            taken += 1
            yield path

    template = Template.load("nearest-farthest")
    stream = Img2Loc(PixelEncoder(), gallery, template, Scripted(["1.55, 2.55"])).locate(
        mostly_broken()
    )
    assert next(stream).status == "unreadable"
    assert taken < 10
    assert next(stream).status == "located"
    assert taken < 100
    assert [guess.status for guess in stream] == ["unreadable"] * 1000 + ["located"]


def test_a_single_path_is_no_list_of_photos(gallery: Gallery) -> None:
    with pytest.raises(TypeError, match="come as a list"):
        list(Retrieval(PixelEncoder(), gallery).locate("photo.jpg"))


def test_what_does_not_fit_is_refused_when_the_locator_is_made(gallery: Gallery) -> None:
    with pytest.raises(WrongEncoder, match=r"'pixels/6'.*'pixels/4'"):
        Retrieval(PixelEncoder(4), gallery)
    with pytest.raises(PromptError, match="does not name"):
        Img2Loc(PixelEncoder(), gallery, Template.load("nearest"), Scripted(["x"]))
    with pytest.raises(PromptError, match="does not search"):
        Zeroshot(Template.load("nearest"), Scripted(["x"]))
    with pytest.raises(ConfigError, match="nearest is 0"):
        Retrieval(PixelEncoder(), gallery, nearest=0)
    with pytest.raises(ConfigError, match="farthest -1"):
        Img2Loc(PixelEncoder(), gallery, Template.load("nearest"), Scripted(["x"]), farthest=-1)


class Miscounting:
    """A third party's LMM that gives `extra` replies more than it is asked for, or fewer."""

    def __init__(self, extra: int) -> None:
        self._extra = extra

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        asked = len(list(prompts))
        yield from [Reply("1.5, 2.5", "m", "answered")] * (asked + self._extra)


@pytest.mark.parametrize(
    ("extra", "says"), [(-1, "fewer replies than prompts"), (1, "more replies than prompts")]
)
def test_an_lmm_that_miscounts_is_an_error_that_says_so(
    toy_photos: list[Path], extra: int, says: str
) -> None:
    locator = Zeroshot(Template.load("zeroshot"), Miscounting(extra))
    with pytest.raises(BackendError, match=f"The LMM Miscounting gave {says}"):
        list(locator.locate(toy_photos[:3]))


@pytest.mark.parametrize("extra", [-1, 1])
def test_an_lmm_that_miscounts_behind_the_cache_is_the_same_error(
    toy_photos: list[Path], extra: int, tmp_path: Path
) -> None:
    locator = Zeroshot(
        Template.load("zeroshot"), Cached(Miscounting(extra), {}, tmp_path / "r.sqlite")
    )
    with pytest.raises(BackendError, match=f"gave {1 + extra} replies to one prompt"):
        list(locator.locate(toy_photos[:3]))
