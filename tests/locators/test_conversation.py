"""What an LMM is asked when its first reply gives no place, and places that it names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from img2loc.core.errors import PromptError
from img2loc.core.geo import distance_km
from img2loc.core.types import Location, Prompt, Reply
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.cache import Cached
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from img2loc.locators.conversation import Repair
from img2loc.locators.ensemble import Ensemble
from img2loc.locators.img2loc import Img2Loc
from img2loc.locators.zeroshot import Zeroshot
from tests.toys import PixelEncoder


class Hesitant:
    """Gives coordinates on the second try only; counts what it is asked."""

    def __init__(self, first: Reply, second: Reply) -> None:
        self.prompts: list[Prompt] = []
        self._replies = first, second

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        for prompt in prompts:
            self.prompts.append(prompt)
            yield self._replies["You have replied" in prompt.text]


def answered(text: str) -> Reply:
    return Reply(text, "m", "answered")


def zeroshot(lmm: object, repair: Repair = 1) -> Zeroshot:
    return Zeroshot(Template.load("zeroshot"), lmm, repair=repair)  # type: ignore[arg-type]


def test_a_reply_without_coordinates_is_answered_once(toy_photos: list[Path]) -> None:
    lmm = Hesitant(answered("I'm sorry, I see a {beach} for $5."), answered("48.85, 2.29"))
    guesses = list(zeroshot(lmm).locate(toy_photos[:3]))
    assert len(lmm.prompts) == 6
    for guess in guesses:
        assert (guess.location, guess.repairs) == (Location(48.85, 2.29), 1)
        assert guess.detail == "the reply of m, on a second try"
        assert [reply.text[:5] for reply in guess.replies] == ["I'm s", "48.85"]
        question, repair = guess.prompts
        assert repair.startswith(question)
        assert "I'm sorry, I see a {beach} for $5." in repair
        assert repair.endswith("<latitude>, <longitude>")
        assert len({reply.key for reply in guess.replies}) == 2  # Each can be replayed.
    lmm.prompts.clear()
    (guess,) = zeroshot(lmm, repair=0).locate(toy_photos[:1])
    assert (guess.status, guess.repairs, len(lmm.prompts)) == ("refused", 0, 1)


@pytest.mark.parametrize(
    ("first", "second", "status", "asked"),
    [
        (answered("lovely"), answered("still lovely"), "unparsed", 2),
        (answered("lovely"), Reply("", "m", "refused", detail="no"), "refused", 2),
        (answered("lovely"), Reply("", "m", "failed", detail="broken"), "unparsed", 2),
        (Reply("lov", "m", "truncated", detail="cut"), answered("1.5, 2.5"), "located", 2),
        (Reply("", "m", "failed", detail="broken"), answered("1.5, 2.5"), "failed", 1),
        (Reply("", "m", "refused", detail="no"), answered("1.5, 2.5"), "refused", 1),
        (answered("1.5, 2.5"), answered("3.5, 4.5"), "located", 1),
    ],
)
def test_what_a_second_try_changes(
    toy_photos: list[Path], first: Reply, second: Reply, status: str, asked: int
) -> None:
    lmm = Hesitant(first, second)
    (guess,) = zeroshot(lmm).locate(toy_photos[:1])
    assert (guess.status, len(lmm.prompts), len(guess.replies)) == (status, asked, asked)
    assert guess.repairs == asked - 1


def test_a_long_reply_is_quoted_in_part(toy_photos: list[Path]) -> None:
    lmm = Hesitant(answered("word " * 100_000), answered("1.5, 2.5"))
    (guess,) = zeroshot(lmm).locate(toy_photos[:1])
    assert len(guess.prompts[1]) < len(guess.prompts[0]) + 5_000


def test_each_reply_of_an_ensemble_is_repaired(gallery: Gallery, toy_photos: list[Path]) -> None:
    lmm = Hesitant(answered("lovely"), answered("48.85, 2.29"))
    locator = Ensemble(
        *(PixelEncoder(), gallery, Template.load("nearest-farthest"), Template.load("zeroshot")),
        lmm,
        counts=(0, 2),
        repair=1,
    )
    for guess in locator.locate(toy_photos[:2]):
        assert guess.location == Location(48.85, 2.29)
        assert (len(guess.prompts), len(guess.replies), guess.repairs) == (4, 4, 2)
        assert "among 2 of 2 replies" in guess.detail


def test_the_second_reply_is_cached_too(toy_photos: list[Path], tmp_path: Path) -> None:
    lmm = Hesitant(answered("lovely"), answered("48.85, 2.29"))
    for _ in range(2):
        (guess,) = zeroshot(Cached(lmm, {}, tmp_path / "r.sqlite")).locate(toy_photos[:1])
        assert guess.location == Location(48.85, 2.29)
    assert len(lmm.prompts) == 2


def test_the_gazetteer_places_what_the_lmm_names(gallery: Gallery, toy_photos: list[Path]) -> None:
    lmm = Scripted(["Paris, Île-de-France, France", "Atlantis", "Sydney, Australia"])
    locator = Img2Loc(
        *(PixelEncoder(), gallery, Template.load("nearest-farthest"), lmm),
        answer="place",
        repair=1,
    )
    first, second = locator.locate(toy_photos[:2])
    assert first.location is not None
    assert distance_km(first.location, Location(48.8566, 2.3522)) < 5
    assert first.detail == "the place named in the reply of scripted"
    assert first.spread_km is not None
    assert second.location is not None
    assert distance_km(second.location, Location(-33.8688, 151.2093)) < 10
    assert second.repairs == 1
    for text in (*first.prompts, *second.prompts):
        assert text.endswith("<town or city>, <state or region>, <country>")
        assert "latitude>" not in text
    (unknown,) = Zeroshot(Template.load("zeroshot"), Scripted(["Atlantis"]), "place").locate(
        toy_photos[:1]
    )
    assert unknown.status == "unparsed"
    assert unknown.detail == "the reply holds no place that the gazetteer knows"


def test_a_prompt_of_coordinates_cannot_ask_for_a_place() -> None:
    with pytest.raises(PromptError, match=r"does not name \$answer"):
        Zeroshot(Template("mine", "latitude, longitude?"), Scripted(["x"]), answer="place")
