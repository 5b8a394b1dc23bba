"""The agent: evidence that only its tools show, budgets, faults of the LMM, many at a time."""

import io
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from img2loc.core.errors import BackendError, ConfigError
from img2loc.core.gazetteer import places_named
from img2loc.core.geo import distance_km
from img2loc.core.guess_json import guess_record
from img2loc.core.types import Guess, Item, Location, Photo, Prompt, Reply
from img2loc.gallery.gallery import Gallery
from img2loc.lmm.prompts import Template
from img2loc.lmm.scripted import Scripted
from img2loc.locators.agent.agent import TOOLS, Agent
from img2loc.locators.agent.dialogue import calls_in
from img2loc.locators.agent.photo_tools import cropped
from tests.conftest import Cli, configure, picture
from tests.gallery.test_gallery import Batches
from tests.server import ChatServer, says
from tests.toys import PixelEncoder


def tool(called: str, **arguments: Any) -> str:
    return json.dumps({"tool": called, "arguments": arguments})


class Policy:
    """An LMM that decides by what it is shown, as a function of the prompt."""

    cacheable = False

    def __init__(self, decide: Callable[[Prompt], str]) -> None:
        self._decide = decide
        self.prompts: list[Prompt] = []

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        for prompt in prompts:
            self.prompts.append(prompt)
            yield Reply(self._decide(prompt), "policy", "answered")


def agent(gallery: Gallery, lmm: Any, **options: Any) -> Agent:
    given = {"nearest": 2, "farthest": 2, **options}
    templates = (Template.load("nearest-farthest"), Template.load("zeroshot"))
    return Agent(PixelEncoder(), gallery, *templates, lmm, **given)


def result_of(prompt: Prompt, name: str) -> str | None:
    found = re.findall(rf"^Result of {name}:\n(.*?)(?:\n\n|\Z)", prompt.text, re.M | re.S)
    return found[-1] if found else None


def first_point(text: str) -> str:
    found = re.search(r"\(-?[\d.]+, -?[\d.]+\)", text)
    assert found is not None
    return found.group()


# --- evidence that only a tool shows -----------------------------------------------------------


@pytest.fixture
def planted(tmp_path: Path) -> tuple[Path, Gallery]:
    """A photograph whose lower right corner is in the gallery, and the rest of it elsewhere."""
    corner = picture(7, (60, 60))
    photo = picture(1, (120, 120))
    photo.paste(corner, (60, 60))
    photo.save(tmp_path / "p.png")
    shown = [picture(1, (120, 120)), *(picture(seed, (60, 60)) for seed in range(20, 40)), corner]
    for number, image in enumerate(shown):
        image.save(tmp_path / f"g{number}.png")
    files = [tmp_path / f"g{number}.png" for number in range(len(shown))]
    vectors = np.stack([np.asarray(row) for row in PixelEncoder().encode(map(Photo, files))])
    items = [Item(f"g{number}", Location(-30, number)) for number in range(len(files) - 1)]
    items.append(Item("corner", Location(27.1751, 78.0421)))
    encoder = {"name": "pixels/6", "alias": "pixels", "table": {}}
    gallery = Gallery.build(
        tmp_path / "g", Batches(vectors, items), encoder=encoder, rows=len(items)
    )
    return tmp_path / "p.png", gallery


def by_the_corner(prompt: Prompt) -> str:
    """Search by the corner, and answer with the first result."""
    if (found := result_of(prompt, "similar_photos")) is None:
        return tool("similar_photos", box=[0.5, 0.5, 1, 1], k=1)
    if "no such tool" in found:
        return "-30, 0"
    return first_point(found)


def test_a_part_is_found_in_the_gallery(planted: tuple[Path, Gallery]) -> None:
    photo, gallery = planted
    (guess,) = agent(gallery, Policy(by_the_corner)).locate([photo])
    assert guess.location == Location(27.1751, 78.0421)
    (step,) = guess.steps
    assert (step.tool, step.arguments["box"]) == ("similar_photos", [0.5, 0.5, 1.0, 1.0])
    assert step.points == (Location(27.1751, 78.0421),)
    assert "Agra" in step.result or "India" in step.result
    without = [name for name in TOOLS if name != "similar_photos"]
    (blind,) = agent(gallery, Policy(by_the_corner), tools=without).locate([photo])
    assert blind.location == Location(-30, 0)


def test_a_sign_is_read_by_zooming(planted: tuple[Path, Gallery]) -> None:
    """The corner's colour stands for what is written on a sign; only its crop shows it enlarged."""
    photo, gallery = planted

    def read(prompt: Prompt) -> str:
        if (found := result_of(prompt, "find_place")) is not None:
            return first_point(found)
        if not prompt.shown:
            return tool("zoom", box=[0.5, 0.5, 1, 1]) if "- zoom:" in prompt.text else "1.5, 2.5"
        with Image.open(io.BytesIO(prompt.shown[0].jpeg(1024))) as seen:
            assert max(seen.size) == 1024
            small = np.asarray(seen.convert("RGB").resize((60, 60)), dtype=float)
        expected = np.asarray(picture(7, (60, 60)), dtype=float)
        assert np.corrcoef(small.ravel(), expected.ravel())[0, 1] > 0.9
        return tool("find_place", name="Agra", country="India")

    (guess,) = agent(gallery, Policy(read)).locate([photo])
    assert guess.location is not None
    assert distance_km(guess.location, Location(27.18, 78.02)) < 15
    assert [step.tool for step in guess.steps] == ["zoom", "find_place"]
    (blind,) = agent(gallery, Policy(read), tools=["find_place"]).locate([photo])
    assert blind.location == Location(1.5, 2.5)


def test_results_are_narrowed_to_a_country_or_a_distance(planted: tuple[Path, Gallery]) -> None:
    photo, gallery = planted
    for narrowed, expected in (
        ({"country": "IN"}, Location(27.1751, 78.0421)),
        ({"within_km": 150, "lat": -30, "lon": 12}, Location(-30, 12)),
    ):
        lmm = Scripted([tool("similar_photos", k=1, **narrowed), "0.5, 0.5"])
        (guess,) = agent(gallery, lmm).locate([photo])
        (at,) = guess.steps[0].points
        assert distance_km(at, expected) <= 150
    lmm = Scripted([tool("similar_photos", country="NO"), "0.5, 0.5"])
    (guess,) = agent(gallery, lmm).locate([photo])
    assert guess.steps[0].result == "none of the 22 nearest fits"


def test_all_springfields_are_listed() -> None:
    found = places_named("Springfield", "US")
    assert len(found) >= 10
    assert found[0][1] == max(population for _, population in found) > 100_000
    assert places_named("Springfield", "Norway") == []
    assert len(places_named("Paris")) > len(places_named("Paris", "France")) >= 1


# --- budgets and the end of a dialogue ---------------------------------------------------------

ZOOM = tool("zoom", box=[0, 0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("replies", "status", "turns", "steps"),
    [
        (["10, 20"], "located", 1, 0),
        ([ZOOM, "10, 20"], "located", 2, 1),
        (["hm", "10, 20"], "located", 2, 0),  # One nudge.
        (["hm", "hm", "10, 20"], "unparsed", 2, 0),
        ([ZOOM], "unparsed", 4, 3),  # Calls for ever: the last turn is no call.
        ([ZOOM, f"I think (10.25, 20.5). {ZOOM}", f"Still (10.26, 20.5). {ZOOM}"], "located", 3, 2),
        (
            [f"I think (10.25, 20.5). {ZOOM}", f"Rather (50.25, 20.5). {ZOOM}", ZOOM],
            "located",
            4,
            3,
        ),
        (["0, 0", "10, 20"], "located", 2, 0),  # 0, 0 is no answer.
        (["I'm sorry, I can't help with that."] * 2, "refused", 2, 0),
    ],
)
def test_how_a_dialogue_ends(
    gallery: Gallery,
    toy_photos: list[Path],
    replies: list[str],
    status: str,
    turns: int,
    steps: int,
) -> None:
    (guess,) = agent(gallery, Scripted(replies), turns=4).locate(toy_photos[:1])
    assert (guess.status, len(guess.replies), len(guess.steps)) == (status, turns, steps)
    assert len(guess.prompts) == turns
    assert (guess.location is None) == (status != "located")


def test_the_last_turn_is_told_to_answer(gallery: Gallery, toy_photos: list[Path]) -> None:
    lmm = Policy(lambda prompt: "10, 20" if "your last turn" in prompt.text else ZOOM)
    (guess,) = agent(gallery, lmm, turns=3).locate(toy_photos[:1])
    assert (guess.location, len(guess.steps)) == (Location(10, 20), 2)


def test_pictures_and_searches_are_limited(gallery: Gallery, toy_photos: list[Path]) -> None:
    lmm = Policy(lambda prompt: ZOOM)
    (guess,) = agent(gallery, lmm, turns=9, crops=2).locate(toy_photos[:1])
    assert max(len(prompt.shown) for prompt in lmm.prompts) == 2
    assert guess.steps[2].result == "no pictures are left of 2"
    (guess,) = agent(
        gallery, Scripted([tool("find_place", name="Paris")]), turns=6, searches=3
    ).locate(toy_photos[:1])
    assert [step.result.startswith("no searches") for step in guess.steps] == [False] * 3 + [
        True
    ] * 2
    (guess,) = agent(
        gallery, Scripted([tool("find_place", name="Springfield"), "1, 2"]), result_tokens=20
    ).locate(toy_photos[:1])
    assert len(guess.steps[0].result) <= 52


@pytest.mark.parametrize(
    "call",
    [
        '{"tool": "rm", "arguments": {"path": "/"}}',
        '{"tool": "zoom"}',
        '{"tool": "zoom", "arguments": "all"}',
        '{"tool": "zoom", "arguments": {"box": [0, 0, 2, 2]}}',
        '{"tool": "zoom", "arguments": {"box": [0.5, 0.5, 0.5, 0.5]}}',
        '{"tool": "zoom", "arguments": {"box": [NaN, 0, 1, 1]}}',
        '{"tool": "zoom", "arguments": {"box": [0, 0, Infinity, 1]}}',
        '{"tool": "zoom", "arguments": {"box": [0, 0, 1, 1], "path": "/etc/passwd"}}',
        '{"tool": "similar_photos", "arguments": {"k": 1000000000}}',
        '{"tool": "similar_photos", "arguments": {"k": -1}}',
        '{"tool": "similar_photos", "arguments": {"side": "inside"}}',
        '{"tool": "find_place", "arguments": {"name": ""}}',
        '{"tool": "find_place", "arguments": {"name": ["a", "b"]}}',
        '{"tool": "describe_place", "arguments": {"lat": 91, "lon": 0}}',
        f'{{"tool": "{"x" * 10_000}", "arguments": {{}}}}',
        f'{{"tool": "zoom", "arguments": {{"box": "{"y" * 1_000_000}"}}}}',
        "{" * 100_000,
        '{"tool": ' + "[" * 50_000,
        '{"tool": "zoom", "arguments": {"box": [0, 0, 1, 1]}' * 3,
    ],
)
def test_a_bad_call_is_told_and_the_dialogue_goes_on(
    gallery: Gallery, toy_photos: list[Path], call: str
) -> None:
    lmm = Scripted([call, "10, 20"])
    begun = time.perf_counter()
    (guess,) = agent(gallery, lmm).locate(toy_photos[:1])
    assert guess.location == Location(10, 20)
    assert time.perf_counter() - begun < 5
    for step in guess.steps:
        assert "not called" in step.result or "no such tool" in step.result
        assert step.points == ()
    record = json.dumps(guess_record(guess), allow_nan=False)
    assert len(record) < 1_200_000  # The reply itself is kept, word for word; arguments are cut.


def test_only_the_first_of_several_calls_is_made(gallery: Gallery, toy_photos: list[Path]) -> None:
    lmm = Policy(lambda prompt: "10, 20" if "Result of" in prompt.text else f"{ZOOM} {ZOOM}")
    (guess,) = agent(gallery, lmm).locate(toy_photos[:1])
    assert len(guess.steps) == 1
    assert "Only the first call of a turn was made." in lmm.prompts[1].text


def test_a_tool_that_raises_is_a_result(
    gallery: Gallery, toy_photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("out of order\nsecond line")

    monkeypatch.setattr("img2loc.locators.agent.place_tools.places_named", fails)
    lmm = Scripted([tool("find_place", name="Paris"), "10, 20"])
    (guess,) = agent(gallery, lmm).locate(toy_photos[:1])
    assert guess.steps[0].result == "find_place failed: out of order"
    assert guess.location == Location(10, 20)


@pytest.mark.parametrize("status", ["refused", "failed"])
def test_what_the_server_refuses_ends_the_dialogue(
    gallery: Gallery, toy_photos: list[Path], status: Any
) -> None:
    (guess,) = agent(gallery, Scripted(["10, 20"], status)).locate(toy_photos[:1])
    assert (guess.status, guess.location) == (status, None)


def test_calls_are_told_from_other_json() -> None:
    text = 'See {"a": {"tool": 3}} and {"tool": "zoom", "arguments": {"box": [1]}}; {"lat": 1}'
    calls, rest = calls_in(text)
    assert calls == [("zoom", {"box": [1]})]
    assert rest == 'See {"a": {"tool": 3}} and  ; {"lat": 1}'
    assert calls_in("no { call } here") == ([], "no { call } here")


# --- the start, the settings, the crop ---------------------------------------------------------


def test_the_start_shows_neighbours_or_nothing(gallery: Gallery, toy_photos: list[Path]) -> None:
    shown, hidden = (Policy(lambda prompt: "10, 20") for _ in range(2))
    list(agent(gallery, shown).locate(toy_photos[:1]))
    list(agent(gallery, hidden, start="nothing").locate(toy_photos[:1]))
    assert "the most similar first: (" in shown.prompts[0].text
    assert "most similar first" not in hidden.prompts[0].text
    for lmm in (shown, hidden):
        assert "with nothing else" not in lmm.prompts[0].text
        assert lmm.prompts[0].text.count("one JSON object") >= 2


def test_settings_that_make_no_sense_are_messages(gallery: Gallery) -> None:
    for options, words in (
        ({"turns": 0}, "turns must be 1 or more"),
        ({"crops": -1}, "not below 0"),
        ({"tools": ["zoom", "shell"]}, "There is no tool 'shell'. Known: zoom"),
    ):
        with pytest.raises(ConfigError, match=words):
            agent(gallery, Scripted(["1, 2"]), **options)


def test_a_crop_of_a_large_panorama_is_quick(tmp_path: Path) -> None:
    Image.new("RGB", (12_000, 3_000), (90, 120, 150)).save(tmp_path / "wide.jpg", quality=80)
    begun = time.perf_counter()
    part = cropped(Photo(tmp_path / "wide.jpg"), (0.4, 0.4, 0.5, 0.6), 1024)
    assert time.perf_counter() - begun < 0.5
    with Image.open(io.BytesIO(part.jpeg(2048))) as image:
        assert image.size == (1024, 512)


# --- many at a time, in order, kept and replayed -----------------------------------------------


class InWaves:
    """Takes `window` prompts before it answers the first, as a server with requests in flight."""

    cacheable = False

    def __init__(self, window: int) -> None:
        self._window = window
        self.most = 0

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        upcoming, held = iter(prompts), list[Prompt]()
        while True:
            while len(held) < self._window and (new := next(upcoming, None)) is not None:
                held.append(new)
            self.most = max(self.most, len(held))
            if not held:
                return
            prompt = held.pop(0)
            turns = prompt.text.count("Your turn ")
            number = int(re.sub(r"\D", "", prompt.photo.path.name) or 0)
            text = ZOOM if turns < number % 4 else f"{number % 80}, 20"
            yield Reply(text, "waves", "answered")


@pytest.mark.parametrize("window", [1, 3, 32])
def test_guesses_keep_their_order_and_the_window_is_full(
    gallery: Gallery, toy_photos: list[Path], window: int
) -> None:
    content = toy_photos[0].read_bytes()
    photos = [Photo(Path(f"{number}.jpg"), content) for number in range(300)]
    photos[7] = Photo(Path("7.jpg"), b"no photo")
    lmm = InWaves(window)
    guesses = list(agent(gallery, lmm).locate(photos))
    assert [guess.photo for guess in guesses] == photos
    assert guesses[7].status == "unreadable"
    for number, guess in enumerate(guesses):
        if number != 7:
            assert guess.location == Location(number % 80 or 0, 20)
            assert len(guess.steps) == number % 4
    assert lmm.most == window


def test_an_lmm_that_miscounts_is_an_error(gallery: Gallery, toy_photos: list[Path]) -> None:
    class Fewer(Scripted):
        def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
            yield from list(super().ask(prompts))[:-1]

    with pytest.raises(BackendError, match="one reply for each prompt"):
        list(agent(gallery, Fewer(["1, 2"])).locate(toy_photos[:3]))


def test_a_real_server_sees_the_whole_dialogue_and_a_replay_repeats_it(
    run: Cli, make_photo: Callable[..., Path], chat: ChatServer
) -> None:
    configure(
        '[locator.agent]\nlmm = "here"\ngallery = "starter"\n'
        f'[lmm.here]\nkind = "openai"\nmodel = "m"\nbase_url = "{chat.url}"\n'
    )
    chat.script(says(f"A sign! {ZOOM}"), says(tool("find_place", name="Giza")), says("29.9, 31.1"))
    photo = make_photo()
    code, out, err = run("ask", photo, "--locator", "agent", "--json", "--cache")
    assert code == 0, err
    guess = json.loads(out)
    assert (guess["lat"], guess["lon"]) == (29.9, 31.1)
    assert [step["tool"] for step in guess["steps"]] == ["zoom", "find_place"]
    assert len(chat.requests) == 3
    contents = [request["messages"][0]["content"] for request in chat.requests]
    assert [sum(part["type"] == "image_url" for part in content) for content in contents] == [
        *(1, 2, 2)
    ]
    assert all("response_format" not in request for request in chat.requests)
    assert "Result of find_place:" in contents[2][0]["text"]
    # Kept, turn by turn: nothing is asked again.
    code, again, _ = run("ask", photo, "--locator", "agent", "--json", "--cache")
    assert len(chat.requests) == 3
    assert json.loads(again)["steps"] == guess["steps"]
    Path("run.jsonl").write_text(out)
    code, replayed, err = run(*("ask", photo, "--locator", "agent", "--lmm", "replay", "--json"))
    assert code == 0, err
    same = ("lat", "lon", "steps", "prompts", "status")
    assert [json.loads(replayed)[key] for key in same] == [guess[key] for key in same]
    code, shown, _ = run("ask", photo, "--locator", "agent", "--explain", "--cache")
    assert '  1. zoom {"box": [0.0, 0.0, 0.5, 0.5]}' in shown
    assert "  2. find_place" in shown
    assert "the part is shown as picture 2" in shown


def test_an_agents_guess_has_evidence_and_a_spread(
    gallery: Gallery, toy_photos: list[Path]
) -> None:
    (guess,) = agent(gallery, Scripted([ZOOM, "10, 20"])).locate(toy_photos[:1])
    assert isinstance(guess, Guess)
    assert guess.spread_km is not None
    assert guess.detail == "the reply of scripted, after 1 calls in 2 turns"
    assert guess_record(guess)["steps"][0]["arguments"] == {"box": [0.0, 0.0, 0.5, 0.5]}
