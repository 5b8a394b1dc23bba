"""Templates: exactly the variables that they get, and nothing of the photo but what is meant."""

from pathlib import Path

import pytest

from img2loc.core.errors import PromptError, UnknownName
from img2loc.core.types import Location, Neighbour, Neighbours, Photo
from img2loc.lmm.prompts import Template, known

NEAR = Neighbour(Location(48.858370, 2.294481), 0.91, "secret-id.jpg", "secret label")
FAR = Neighbour(Location(-33.8568, 151.2153), -0.1, "x")


def test_the_prompts_that_ship() -> None:
    assert known() == [
        "farthest",
        "g3-paper",
        "g3-paper-zeroshot",
        "img2loc-paper",
        "img2loc-paper-zeroshot",
        "nearest",
        "nearest-farthest",
        "nearest-farthest-places",
        "nearest-places",
        "zeroshot",
    ]
    both = ["nearest", "farthest"]
    given = {
        "nearest-farthest": both,
        "nearest-farthest-places": both,
        "nearest": ["nearest"],
        "nearest-places": ["nearest"],
        "zeroshot": [],
        "img2loc-paper": both,
        "img2loc-paper-zeroshot": [],
        "g3-paper": both,
        "g3-paper-zeroshot": [],
    }
    for name, variables in given.items():
        Template.load(name).require(variables)


def test_the_papers_prompt_holds_both_ends_and_nothing_else() -> None:
    prompt = Template.load("nearest-farthest").fill(
        Photo(Path("IMG_1234.jpg")), Neighbours((NEAR, NEAR), (FAR,))
    )
    assert "(48.8584, 2.2945), (48.8584, 2.2945)" in prompt.text
    assert "(-33.8568, 151.2153)" in prompt.text
    assert prompt.text.index("48.8584") < prompt.text.index("-33.8568")
    for secret in ("secret", "0.91", "IMG_1234", "$"):
        assert secret not in prompt.text


def test_place_names_beside_the_coordinates() -> None:
    mid_ocean = Neighbour(Location(0.5, -30.0), 0.1, "x")
    text = (
        Template.load("nearest-farthest-places")
        .fill(Photo(Path("x")), Neighbours((NEAR, mid_ocean), (FAR,)))
        .text
    )
    assert "(48.8584, 2.2945) " in text
    assert ", France; (0.5000, -30.0000)\n" in text
    assert ", Australia\n" in text


def test_a_template_and_its_values_must_fit() -> None:
    template = Template("mine", "near $nearest")
    template.require(["nearest"])
    with pytest.raises(PromptError, match=r"names \$nearest, which this locator does not search"):
        template.require([])
    with pytest.raises(PromptError, match=r"does not name \$farthest"):
        template.require(["nearest", "farthest"])
    with pytest.raises(PromptError, match=r"names \$nearst. Known: \$nearest, \$farthest"):
        Template("mine", "near $nearst")
    with pytest.raises(PromptError, match="dollar sign"):
        Template("mine", "costs $5")
    assert Template("mine", "costs $$5").fill(Photo(Path("x")), Neighbours()).text == "costs $5"


def test_a_prompt_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("Where? $nearest")
    assert Template.load(str(path)).variables == {"nearest"}
    with pytest.raises(
        UnknownName,
        match=(
            r"no prompt named 'nonsense'. Known: .*, nearest, nearest-farthest,"
            r" nearest-farthest-places, nearest-places, zeroshot"
        ),
    ):
        Template.load("nonsense")
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(PromptError, match="cannot be read"):
        Template.load(str(path))


def test_lists_as_the_authors_codes_print_them() -> None:
    both = Neighbours((NEAR, NEAR), (FAR, FAR))
    here = Photo(Path("x"))
    text = Template.load("img2loc-paper").fill(here, both).text
    assert "similar (48.85837, 2.294481) (48.85837, 2.294481) and" in text
    assert text.endswith("(-33.8568, 151.2153) (-33.8568, 151.2153).")  # The references are last.
    assert "+++" not in text
    text = Template.load("g3-paper").fill(here, both).text
    assert "['[48.85837, 2.294481]', '[48.85837, 2.294481]']" in text
    assert text.count('{"latitude": float,"longitude": float}') == 2


def test_a_header_sets_the_form_of_a_list() -> None:
    words = '+++\npoint = "{lon:.1f} E {lat:+.2f} N"\njoin = " | "\n+++\n\nNear $nearest'
    template = Template("mine", words)
    text = template.fill(Photo(Path("x")), Neighbours((NEAR, FAR))).text
    assert text == "Near 2.3 E +48.86 N | 151.2 E -33.86 N"
    assert template.source == words  # What run.json keeps.


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("join = 3", "join = 3; known, each a text: point, join"),
        ('digits = "3"', "digits"),
        ('point = "({lat})"', "must name {lat} and {lon}"),
        ('point = "{lat.real} {lon} {lat}"', "and nothing else"),
        ('point = "{lat:y} {lon}"', "format"),
        ('point = "{lat"', "expected"),
        ("point", "TOML|Expected"),
    ],
)
def test_a_header_that_cannot_be_used_says_why(header: str, words: str) -> None:
    with pytest.raises(PromptError, match=words) as caught:
        Template("mine", f"+++\n{header}\n+++\nNear $nearest")
    assert "Write, between two lines of +++" in str(caught.value)
    with pytest.raises(PromptError, match="no second line"):
        Template("mine", f"+++\n{header}\nNear $nearest")


def test_a_prompt_says_what_the_neighbours_are_of() -> None:
    """A point of a gallery of points is no photograph."""
    for name in known():
        template = Template.load(name)
        if "-paper" in name:  # A paper's own galleries are of photographs.
            continue
        texts = {
            of: template.fill(Photo(Path("x")), Neighbours((NEAR,), (FAR,)), of).text
            for of in ("photos", "points")
        }
        assert "photographs" not in texts["points"]
        assert texts["photos"].count("photographs") == len(template.sides)
        assert texts["points"] == texts["photos"].replace("photographs", "places")


def test_no_coordinate_is_minus_zero_and_no_list_is_blank() -> None:
    template = Template("mine", "$nearest and $farthest_places")
    near = Neighbour(Location(-0.00001, -0.00004), 0.9, "x")
    text = template.fill(Photo(Path("x")), Neighbours((near,))).text
    assert text == "(0.0000, 0.0000) and none"
