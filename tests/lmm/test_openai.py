"""The openai backend over loopback HTTP: what is sent, and what each kind of answer becomes."""

import io
import json
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from threading import Barrier, Semaphore
from typing import Any

import pytest
from PIL import Image
from werkzeug import Response

from img2loc.core.errors import BackendError, ConfigError
from img2loc.core.types import Photo, Prompt, Reply, Usage
from img2loc.lmm.openai import OpenAIChat
from img2loc.lmm.scripted import Scripted
from tests.conftest import MakePhoto
from tests.server import ChatServer, completion, fails, hangs, says, sends


@pytest.fixture
def prompt(make_photo: MakePhoto) -> Prompt:
    return Prompt("Where?", Photo(make_photo()))


def ask(prompts: list[Prompt], **options: Any) -> list[Reply]:
    settings: dict[str, Any] = {"timeout": 60.0, "retries": 0, "concurrency": 1, **options}
    return list(OpenAIChat("gpt-4o", **settings).ask(prompts))


def test_an_answer_with_its_usage(chat: ChatServer, prompt: Prompt) -> None:
    (reply,) = ask([prompt])
    assert reply == Reply("48.8584, 2.2945", "gpt-4o", "answered", Usage(321, 12))
    assert chat.text() == "Where?"
    assert chat.requests[0]["model"] == "gpt-4o"
    assert set(chat.requests[0]) == {
        "model",
        "messages",
        "max_completion_tokens",
        "response_format",
    }


def test_nothing_of_the_photo_but_its_pixels_is_sent(
    chat: ChatServer, make_photo: MakePhoto
) -> None:
    exif = Image.Exif()
    exif[271] = "SECRET"
    path = make_photo(
        "SECRET-Flickr-12345@N00.jpg", exif=exif, comment=b"SECRET", size=(3000, 1500)
    )
    ask([Prompt("Where?", Photo(path))], image_side=640)
    assert b"SECRET" not in chat.jpeg()
    assert "SECRET" not in str(chat.requests) + str(chat.headers)
    with Image.open(io.BytesIO(chat.jpeg())) as sent:
        assert sent.size == (640, 320)
    small = len(chat.jpeg())
    ask([Prompt("Where?", Photo(path))], image_side=65500, image_quality=95)
    with Image.open(io.BytesIO(chat.jpeg())) as sent:
        assert sent.size == (3000, 1500)
    assert b"SECRET" not in chat.jpeg()
    assert len(chat.jpeg()) > 4 * small


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
        (fails(500), "failed", "the server answered 500: no"),
        (fails(503), "failed", "the server answered 503"),
        (
            lambda: sends("<html>proxy</html>", kind="text/html"),
            "failed",
            "no choices|cannot be read",
        ),
        (lambda: sends('{"half": ', kind="application/json"), "failed", "cannot be read"),
        (lambda: sends({"choices": []}), "failed", "no choices"),
        (lambda: sends({"choices": [{"message": None}]}), "failed", "cannot be read"),
        (lambda: sends({**completion("48.5, 2.5"), "usage": None}), "answered", ""),
        (lambda: sends("null"), "failed", "no choices"),
        (lambda: sends("[1, 2]"), "failed", "no choices|cannot be read"),
    ],
)
def test_each_outcome_is_a_status(
    chat: ChatServer, prompt: Prompt, answer: object, status: str, detail: str
) -> None:
    import re

    chat.script(answer)  # type: ignore[arg-type]
    (reply,) = ask([prompt])
    assert reply.status == status, reply
    assert re.search(detail, reply.detail)


def test_structured_output_is_asked_for_without_bounds(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(says('{"latitude": 1.5, "longitude": 2.5}'))
    (reply,) = ask([prompt])
    form = chat.requests[0]["response_format"]
    assert form["json_schema"]["strict"] is True
    assert "minimum" not in str(form)
    assert reply.text == '{"latitude": 1.5, "longitude": 2.5}'


def test_a_server_without_structured_output_is_asked_without_for_the_rest_of_the_run(
    chat: ChatServer, prompt: Prompt
) -> None:
    chat.script(fails(400, "bad", "response_format is not supported"), says("1.5, 2.5"))
    replies = ask([prompt] * 3)
    assert [reply.status for reply in replies] == ["answered"] * 3
    assert ["response_format" in request for request in chat.requests] == [
        True,
        False,
        False,
        False,
    ]


def test_a_bad_request_of_another_kind_does_not_switch_it_off(
    chat: ChatServer, prompt: Prompt
) -> None:
    chat.script(fails(400, "bad", "no images"), fails(400, "bad", "no images"), says("1.5, 2.5"))
    replies = ask([prompt] * 2)
    assert [reply.status for reply in replies] == ["failed", "answered"]
    assert ["response_format" in request for request in chat.requests] == [True, False, True]


def test_what_a_reply_cost(chat: ChatServer, prompt: Prompt) -> None:
    (reply,) = ask([prompt], price={"input": 2.5, "output": 10.0})
    assert reply.usage is not None
    assert reply.usage.cost_usd == pytest.approx(321 * 2.5e-6 + 12 * 10e-6)


def test_a_table_with_an_address_does_not_send_openais_key_there(
    chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    (reply,) = ask([prompt], base_url=chat.url, key_env="SERVER_API_KEY")
    assert reply.status == "answered"
    assert "sk-secret" not in str(chat.headers)


def test_what_is_meant_for_this_machine_stays_on_it(
    chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a proxy of the environment nor a redirect of the server takes the photo elsewhere."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert ask([prompt])[0].status == "answered"
    chat.script(lambda: sends({}, 307, location=f"{chat.url}/elsewhere"))
    (reply,) = ask([prompt], structured=False)
    assert (reply.status, len(chat.requests)) == ("failed", 2)


def test_a_busy_server_is_asked_again(
    chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    sleep = time.sleep

    def record(seconds: float) -> None:
        if threading.current_thread().name.startswith("lmm"):  # others' threads sleep too
            waits.append(seconds)
        else:
            sleep(seconds)

    monkeypatch.setattr(time, "sleep", record)
    chat.script(fails(429, **{"retry-after": "7"}), says("1.5, 2.5"))
    (reply,) = ask([prompt], retries=2)
    assert (reply.status, reply.text, len(chat.requests)) == ("answered", "1.5, 2.5", 2)
    assert waits == [7.0]  # as long as the server asks for


def test_a_server_that_hangs_costs_one_photo(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(hangs, says("1.5, 2.5"))
    first, second = ask(
        [prompt, prompt], timeout=2.0
    )  # Long enough for the second reply on a busy machine.
    assert (first.status, first.detail) == ("failed", "no complete answer within 2 s")
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
def test_what_no_prompt_survives_stops_the_run(
    chat: ChatServer, prompt: Prompt, answer: object, words: str
) -> None:
    chat.script(says("1.5, 2.5"), answer)  # type: ignore[arg-type]
    replies = OpenAIChat("gpt-4o", retries=0, concurrency=1).ask([prompt] * 3)
    assert next(replies).text == "1.5, 2.5"  # what was answered is not lost
    with pytest.raises(BackendError, match=words):
        next(replies)


@pytest.mark.parametrize("body", ["[" * 200_000, '{"a":' * 100_000])
def test_brackets_without_end_cost_one_photo(chat: ChatServer, prompt: Prompt, body: str) -> None:
    chat.script(lambda: sends(body), says("1.5, 2.5"))
    assert [reply.status for reply in ask([prompt, prompt])] == ["failed", "answered"]


def test_odd_counts_and_half_characters_do_not_lose_an_answer(
    chat: ChatServer, prompt: Prompt
) -> None:
    answer = json.dumps(
        {
            **completion("\ud800 1.5, 2.5"),
            "usage": {"prompt_tokens": float("nan"), "completion_tokens": 3},
        }
    )
    chat.script(lambda: sends(answer), lambda: sends({**completion("1.5, 2.5"), "usage": "abc"}))
    for reply in ask([prompt, prompt]):
        assert (reply.status, reply.usage) == ("answered", None)
        reply.text.encode()


def test_a_photo_that_is_not_permitted_does_not_stop_the_others(
    chat: ChatServer, prompt: Prompt
) -> None:
    chat.script(says("1.5, 2.5"), fails(403, "flagged", "flagged by moderation"), says("1.5, 2.5"))
    assert [reply.status for reply in ask([prompt] * 3)] == ["answered", "refused", "answered"]
    chat.script(fails(403, "forbidden", "no access"))
    with pytest.raises(BackendError, match="no access"):
        ask([prompt])


def test_values_that_cannot_work_are_refused(chat: ChatServer) -> None:
    for options in (
        *({"image_side": 0}, {"image_quality": 0}, {"image_quality": 101}),
        *({"timeout": 0.0}, {"retries": -1}, {"concurrency": 0}),
    ):
        with pytest.raises(ConfigError):
            ask([], **options)


def test_replies_on_their_way_are_not_lost_when_the_run_stops(
    chat: ChatServer, make_photo: MakePhoto
) -> None:
    numbers, others = count(), Semaphore(0)

    def second_fails() -> Response:
        if next(numbers) != 1:
            others.release()
            return sends(completion("1.5, 2.5"))
        for _ in range(4):
            others.acquire(timeout=60)
        return fails(429, "insufficient_quota", "quota exceeded")()

    chat.script(second_fails)
    prompts = [Prompt(f"number {n}", Photo(make_photo(f"{n}.jpg", n))) for n in range(40)]
    replies: list[Reply] = []
    with pytest.raises(BackendError, match="no credit"):
        replies.extend(OpenAIChat("gpt-4o", retries=0, concurrency=4).ask(prompts))
    assert sum(reply.status == "answered" for reply in replies) == len(chat.requests) - 1


def test_a_key_or_a_server_is_needed() -> None:
    with pytest.raises(BackendError, match="OPENAI_API_KEY is not set"):
        OpenAIChat("gpt-4o")


def test_the_key_and_the_options_are_sent(
    chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    ask([prompt], temperature=0.0, seed=7, max_tokens=50, detail="low")
    assert chat.headers[0]["Authorization"] == "Bearer sk-mine"
    sent = chat.requests[0]
    assert (sent["temperature"], sent["seed"], sent["max_completion_tokens"]) == (0.0, 7, 50)
    assert sent["messages"][0]["content"][1]["image_url"]["detail"] == "low"


def test_many_in_flight_come_back_in_order(chat: ChatServer, make_photo: MakePhoto) -> None:
    """Six at once, and while the first is held back, no more are taken than the window holds."""
    numbers, six_at_once, others = count(), Barrier(6), Semaphore(0)

    def slow_first() -> Response:
        number = next(numbers)
        if number < 6:
            six_at_once.wait(timeout=60)
        if number:
            others.release()
        else:
            for _ in range(11):
                others.acquire(timeout=60)
        return sends(completion("a, b"))

    chat.script(slow_first)
    prompts = [Prompt(f"number {n}", Photo(make_photo(f"{n}.jpg", n))) for n in range(30)]
    taken: list[int] = []

    def lazily() -> Iterator[Prompt]:
        for n, each in enumerate(prompts):
            taken.append(n)
            yield each

    replies = OpenAIChat("gpt-4o", concurrency=6).ask(lazily())
    next(replies)
    assert max(taken) < 12 + 2  # the window, not the whole stream
    assert [reply.status for reply in replies] == ["answered"] * 29
    assert not six_at_once.broken


def test_a_photo_that_cannot_be_sent(chat: ChatServer) -> None:
    (reply,) = ask([Prompt("Where?", Photo(Path("absent.jpg")))])
    assert (reply.status, reply.detail) == ("failed", "the photo cannot be sent: no such file")


def test_the_scripted_lmm(prompt: Prompt) -> None:
    assert [reply.text for reply in Scripted(["a", "b"]).ask([prompt] * 3)] == ["a", "b", "a"]
    with pytest.raises(ConfigError, match="at least one reply"):
        Scripted([])
