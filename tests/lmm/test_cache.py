"""The reply cache: stored as they come, found again by what was asked, safe with two processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from img2loc.config import factory
from img2loc.config.config import Config
from img2loc.config.plan import plan_lmm
from img2loc.core.errors import ConfigError
from img2loc.core.types import Photo, Prompt, Reply
from img2loc.lmm.cache import Cached
from img2loc.lmm.openai import OpenAIChat
from img2loc.lmm.repeated import Repeated
from img2loc.lmm.replay import Replay
from img2loc.lmm.scripted import Scripted
from tests.conftest import MakePhoto
from tests.server import ChatServer, fails, hangs, says

ROOT = Path(__file__).resolve().parents[2]


def ask(prompts: list[Prompt], file: Path, **identity: object) -> list[Reply]:
    model = Cached(OpenAIChat("gpt-4o", retries=0), {"model": "gpt-4o", **identity}, file)
    try:
        return list(model.ask(prompts))
    finally:
        model.close()


def test_the_same_question_is_asked_once(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    prompts = [Prompt(f"Where? {n}", Photo(make_photo(f"{n}.jpg", n))) for n in range(5)]
    first = ask(prompts, tmp_path / "replies.sqlite")
    assert ask(prompts, tmp_path / "replies.sqlite") == [reply.again() for reply in first]
    assert len(chat.requests) == 5


def test_samples_of_one_prompt_are_different_questions(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    prompts = [Prompt("Where?", Photo(make_photo()), sample) for sample in range(3)]
    for _ in range(2):
        ask(prompts, tmp_path / "r.sqlite")
    assert len(chat.requests) == 3


@pytest.mark.parametrize("change", ["words", "photo", "identity"])
def test_another_question_is_asked_again(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path, change: str
) -> None:
    file = tmp_path / "replies.sqlite"
    ask([Prompt("Where?", Photo(make_photo("a.jpg", 1)))], file)
    words = "Where then?" if change == "words" else "Where?"
    photo = make_photo("a.jpg", 2 if change == "photo" else 1)  # the same name, other pixels
    ask([Prompt(words, Photo(photo))], file, temperature=1.0 if change == "identity" else None)
    ask(
        [Prompt("Where?", Photo(make_photo("renamed.jpg", 1)))], file
    )  # the same pixels under another name
    assert len(chat.requests) == 2


def test_what_failed_is_asked_again(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    chat.script(fails(500), says(None, refusal="no"), says("1.5, 2.5"))
    prompt = Prompt("Where?", Photo(make_photo()))
    statuses = [ask([prompt], tmp_path / "r.sqlite")[0].status for _ in range(3)]
    assert statuses == ["failed", "refused", "refused"]
    assert len(chat.requests) == 2


def test_a_cached_model_that_is_no_server(make_photo: MakePhoto, tmp_path: Path) -> None:
    asked: list[str] = []

    class Local:
        def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
            for prompt in prompts:
                asked.append(prompt.text)
                yield Reply(f"re: {prompt.text}", "local", "answered")

    prompts = [Prompt(str(n % 3), Photo(make_photo())) for n in range(7)]
    for _ in range(2):
        replies = list(Cached(Local(), {}, tmp_path / "r.sqlite").ask(prompts))
        assert [reply.text for reply in replies] == [f"re: {n % 3}" for n in range(7)]
    assert sorted(asked) == ["0", "1", "2"]


def test_a_file_that_is_no_cache_says_so(tmp_path: Path) -> None:
    (tmp_path / "r.sqlite").write_text(
        "this is not a database, and it is long enough to be noticed as such" * 10
    )
    with pytest.raises(ConfigError, match="Delete it, or ask without --cache"):
        Cached(Replay.__new__(Replay), {}, tmp_path / "r.sqlite")


def test_a_damaged_row_is_asked_again_and_a_damaged_file_says_so(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    import sqlite3

    prompt, file = Prompt("Where?", Photo(make_photo())), tmp_path / "r.sqlite"
    ask([prompt], file)
    with sqlite3.connect(file) as store:
        store.execute("UPDATE replies SET reply = 'junk'")
    store.close()
    assert ask([prompt], file)[0].status == "answered"
    assert len(chat.requests) == 2
    with sqlite3.connect(file) as store:
        store.execute("DROP TABLE replies")
        store.execute("CREATE TABLE replies (other TEXT)")
    store.close()
    with pytest.raises(ConfigError, match="damaged"):
        ask([prompt], file)


def test_the_identity_of_a_configured_model(tmp_path: Path, chat: ChatServer) -> None:
    """Sampling and endpoint tell questions apart; how patiently they are asked does not."""
    identities = []
    for text in (
        "temperature = 0.5",
        "temperature = 0.6",
        "temperature = 0.5\ntimeout = 5.0\nconcurrency = 9\nimage_side = 1024",
    ):
        (tmp_path / "c.toml").write_text(f"[lmm.gpt]\n{text}\n")
        model = factory.lmm(
            plan_lmm(Config.load(tmp_path / "c.toml"), "gpt"), tmp_path / "r.sqlite"
        )
        assert isinstance(model, Cached)
        identities.append(model._identity)
    assert identities[0] == identities[2] != identities[1]
    assert chat.url in identities[0]


SCRIPT = """
import sys
from pathlib import Path
from img2loc.lmm.cache import Cached
from img2loc.lmm.openai import OpenAIChat
from img2loc.core.types import Photo, Prompt
photo = Photo(Path(sys.argv[1]))
prompts = [Prompt(f"number {n}", photo) for n in range(int(sys.argv[3]))]
lmm = Cached(OpenAIChat("gpt-4o", concurrency=16), {}, Path(sys.argv[2]))
for reply in lmm.ask(prompts): print(reply.text, flush=True)
"""


def run(photo: Path, file: Path, prompts: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SCRIPT, str(photo), str(file), str(prompts)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_sigkill_in_the_middle_loses_no_reply(
    chat: ChatServer, make_photo: MakePhoto, tmp_path: Path
) -> None:
    """500 prompts, killed on the way, run again: none is missing, no stored reply is asked for."""
    chat.script(*[says("1.5, 2.5")] * 150, hangs)
    photo, file = make_photo(), tmp_path / "replies.sqlite"
    first = run(photo, file, 500)
    while (
        len(chat.requests) < 150 + 16
    ):  # All that may be in flight hang, so all replies before them have arrived.
        assert first.poll() is None
        time.sleep(0.01)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    chat.script(says("1.5, 2.5"))
    second = run(photo, file, 500)
    out, _ = second.communicate(timeout=120)
    assert out.splitlines() == ["1.5, 2.5"] * 500
    sent = [chat.text(number) for number in range(len(chat.requests))]
    assert (
        len(sent) == 500 + 16
    )  # Only those that were in flight, whose replies never arrived, were sent twice.
    assert set(sent) == {f"number {n}" for n in range(500)}


def test_two_processes_at_once(chat: ChatServer, make_photo: MakePhoto, tmp_path: Path) -> None:
    photo, file = make_photo(), tmp_path / "replies.sqlite"
    both = [run(photo, file, 200) for _ in range(2)]
    for process in both:
        out, _ = process.communicate(timeout=120)
        assert (process.returncode, len(out.splitlines())) == (0, 200)
    assert len(chat.requests) <= 400
    assert len(ask([Prompt("number 7", Photo(photo))], file)) == 1


def test_a_repetition_has_replies_of_its_own(toy_photos: list[Path], tmp_path: Path) -> None:
    """A second run of one configuration is no copy of the first, and a third reads the second."""
    lmm = Cached(Scripted(["1, 1", "2, 2", "3, 3"]), {}, tmp_path / "replies.sqlite")
    prompt = Prompt("Where?", Photo(toy_photos[0]))
    replies = [next(Repeated(lmm, repeat).ask([prompt])).text for repeat in (0, 1, 1, 0, 2)]
    assert replies == ["1, 1", "2, 2", "2, 2", "1, 1", "3, 3"]
    assert next(lmm.ask([prompt])).text == "1, 1"
