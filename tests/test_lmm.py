"""The openai backend over real HTTP on the loopback: what is sent, and what each kind of answer becomes."""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from img2loc.errors import BackendError, ConfigError
from img2loc.lmm.openai import OpenAIChat
from img2loc.lmm.scripted import Scripted
from img2loc.types import Photo, Prompt, Reply, Usage
from tests.conftest import MakePhoto
from tests.server import ChatServer, completion, fails, hangs, says, sends


@pytest.fixture
def prompt(make_photo: MakePhoto) -> Prompt:
    return Prompt("Where?", Photo(make_photo()))


def ask(prompts: list[Prompt], **options: object) -> list[Reply]:
    return list(OpenAIChat("gpt-4o", **{"timeout": 5.0, "retries": 0, "concurrency": 1, **options}).ask(prompts))  # type: ignore[arg-type]


def test_an_answer_with_its_usage(chat: ChatServer, prompt: Prompt) -> None:
    (reply,) = ask([prompt])
    assert reply == Reply("48.8584, 2.2945", "gpt-4o", "answered", Usage(321, 12))
    assert chat.text() == "Where?"
    assert chat.requests[0]["model"] == "gpt-4o"
    assert set(chat.requests[0]) == {"model", "messages", "max_completion_tokens"}


def test_nothing_of_the_photo_but_its_pixels_is_sent(chat: ChatServer, make_photo: MakePhoto) -> None:
    exif = Image.Exif()
    exif[271] = "SECRET"
    path = make_photo("SECRET-Flickr-12345@N00.jpg", exif=exif, comment=b"SECRET", size=(3000, 1500))
    ask([Prompt("Where?", Photo(path))], image_side=640)
    assert b"SECRET" not in chat.jpeg()
    assert "SECRET" not in str(chat.requests) + str(chat.headers)
    with Image.open(io.BytesIO(chat.jpeg())) as sent:
        assert sent.size == (640, 320)


@pytest.mark.parametrize(
    ("answer", "status", "detail"),
    [
        (says(None, refusal="I can't help."), "refused", "I can't help."),
        (says("", finish="content_filter"), "refused", "content filter"),
        (says("The photo shows a", finish="length"), "truncated", "1000 tokens; raise max_tokens"),
        (says(None), "failed", "empty"),
        (says("  \n"), "failed", "empty"),
        (fails(400, "content_filter", "flagged"), "refused", "flagged"),
        (fails(400, "bad", "no images here"), "failed", "no images here"),
        (fails(429), "failed", "too many requests"),
        (fails(500), "failed", "makes no sense|no"),
        (fails(503), "failed", "no"),
        (lambda: sends("<html>proxy</html>", kind="text/html"), "failed", "no choices|no sense"),
        (lambda: sends('{"half": ', kind="application/json"), "failed", "makes no sense"),
        (lambda: sends({"choices": []}), "failed", "no choices"),
        (lambda: sends({"choices": [{"message": None}]}), "failed", "makes no sense"),
        (lambda: sends({**completion("48.5, 2.5"), "usage": None}), "answered", ""),
        (lambda: sends("null"), "failed", "no choices"),
        (lambda: sends("[1, 2]"), "failed", "no choices|no sense"),
    ],
)
def test_each_outcome_is_a_status(chat: ChatServer, prompt: Prompt, answer: object, status: str, detail: str) -> None:
    import re

    chat.script(answer)  # type: ignore[arg-type]
    (reply,) = ask([prompt])
    assert reply.status == status, reply
    assert re.search(detail, reply.detail)


def test_a_busy_server_is_asked_again(chat: ChatServer, prompt: Prompt) -> None:
    busy = fails(429, **{"retry-after": "1"})
    chat.script(busy, says("1.5, 2.5"))
    started = time.monotonic()
    (reply,) = ask([prompt], retries=2)
    assert (reply.status, reply.text, len(chat.requests)) == ("answered", "1.5, 2.5", 2)
    assert time.monotonic() - started >= 0.9  # it waited as long as it was told to


def test_a_server_that_hangs_costs_one_photo(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(hangs(1.5), says("1.5, 2.5"))
    first, second = ask([prompt, prompt], timeout=0.5)
    assert (first.status, first.detail) == ("failed", "no answer within 0.5 s")
    assert second.status == "answered"


def test_no_server_is_a_status_too(monkeypatch: pytest.MonkeyPatch, prompt: Prompt) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (reply,) = ask([prompt])
    assert reply.status == "failed"
    assert "no connection to http://127.0.0.1:9/v1" in reply.detail


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (fails(401, "invalid_api_key", "Incorrect API key"), "Incorrect API key"),
        (fails(404, "model_not_found", "no model gpt-4o"), "no model gpt-4o"),
        (fails(429, "insufficient_quota", "quota exceeded"), "no credit"),
    ],
)
def test_what_no_prompt_survives_stops_the_run(chat: ChatServer, prompt: Prompt, answer: object, words: str) -> None:
    chat.script(says("1.5, 2.5"), answer)  # type: ignore[arg-type]
    replies = OpenAIChat("gpt-4o", retries=0, concurrency=1).ask([prompt] * 3)
    assert next(replies).text == "1.5, 2.5"  # what was answered is not lost
    with pytest.raises(BackendError, match=words):
        next(replies)


def test_a_key_or_a_server_is_needed() -> None:
    with pytest.raises(BackendError, match="OPENAI_API_KEY is not set"):
        OpenAIChat("gpt-4o")


def test_the_key_and_the_options_are_sent(chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    ask([prompt], temperature=0.0, seed=7, max_tokens=50, detail="low")
    assert chat.headers[0]["Authorization"] == "Bearer sk-mine"
    sent = chat.requests[0]
    assert (sent["temperature"], sent["seed"], sent["max_completion_tokens"]) == (0.0, 7, 50)
    assert sent["messages"][0]["content"][1]["image_url"]["detail"] == "low"


def test_many_in_flight_come_back_in_order(chat: ChatServer, make_photo: MakePhoto) -> None:
    from itertools import count

    numbers = count()

    def slow_first() -> object:
        number = next(numbers)
        time.sleep(0.4 if number == 0 else 0.1)
        return sends(completion("a, b"))

    chat.script(slow_first)  # type: ignore[arg-type]
    prompts = [Prompt(f"number {n}", Photo(make_photo(f"{n}.jpg", n))) for n in range(12)]
    taken: list[int] = []

    def lazily() -> Iterator[Prompt]:
        for n, each in enumerate(prompts):
            taken.append(n)
            yield each

    started = time.monotonic()
    replies = OpenAIChat("gpt-4o", concurrency=6).ask(lazily())
    next(replies)
    assert max(taken) <= 6  # the window, not the whole stream
    assert len(list(replies)) == 11
    assert time.monotonic() - started < 1.2  # twelve times 0.1 s one after the other, and 0.3 more


def test_a_photo_that_cannot_be_sent(chat: ChatServer) -> None:
    (reply,) = ask([Prompt("Where?", Photo(Path("absent.jpg")))])
    assert (reply.status, reply.detail) == ("failed", "the photo cannot be sent: no such file")


def test_the_scripted_lmm(prompt: Prompt) -> None:
    assert [reply.text for reply in Scripted(["a", "b"]).ask([prompt] * 3)] == ["a", "b", "a"]
    with pytest.raises(ConfigError, match="at least one reply"):
        Scripted([])
