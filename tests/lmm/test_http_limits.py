"""What an LMM's server cannot do to its client: use up the memory, or answer without end."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import picture
from tests.hostile import serving

LATE = ("no complete answer within 0.5 s", "timed out")
LONG = ("longer than 1,048,576 bytes", "longer than 131,072 bytes")
UNREADABLE = ("cannot be read", "Error: ")
FAILS = {
    "silent": LATE,
    "dribbling headers": LATE,
    "dribbling body": LATE,
    "dribbling error": LATE,
    "endless headers": ("no connection to", "Connection error"),
    "endless continues": LATE,
    "endless body": LONG,
    "endless error": LONG,
    "one long line": LONG,
    "many choices": (UNREADABLE[0], LONG[1]),
    "some choices": UNREADABLE,
    "deeply nested": UNREADABLE,
    "gzip bomb": LONG,
    "deflate bomb": LONG,
    "gzipped gzip bomb": LONG,
    "redirect loop": ("the server answered 307", "Error code: 307"),
}
"""How each way to answer is called: by the kind "openai", and by "langchain"."""
TIMEOUTS = {"good": 60.0} | {
    answer: 0.5 if details == LATE else 60.0 for answer, details in FAILS.items()
}
ASKING = """
import json, sys
from pathlib import Path
from img2loc.lmm.langchain import LangChain
from img2loc.lmm.openai import OpenAIChat
from img2loc.core.types import Photo, Prompt

def most_memory():
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

def made(kind, model, timeout):
    if kind == "openai":
        return OpenAIChat(model, base_url=url, timeout=timeout, retries=1, structured=False)
    options = {"base_url": url, "api_key": "k", "timeout": timeout, "max_retries": 1}
    return LangChain(f"openai:{model}", options=options, structured=False)

kind, url, photo, timeouts = sys.argv[1:]
replies = {}
for model, timeout in json.loads(timeouts).items():
    lmm = made(kind, model, timeout)
    before = most_memory()
    prompts = [Prompt("Where?", Photo(Path(photo)))] * 4
    got = [[reply.status, reply.detail] for reply in lmm.ask(prompts)]
    replies[model] = got, most_memory() - before
print(json.dumps(replies))
"""


@pytest.fixture(scope="module", params=["openai", "langchain"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def replies(kind: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each way to answer: four replies at once, and the MiB that memory grew by at most."""
    photo = tmp_path_factory.mktemp("photos") / "photo.jpg"
    picture().save(photo)
    with serving() as url:
        command = [sys.executable, "-c", ASKING, kind, url, str(photo), json.dumps(TIMEOUTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("answer", "details"), FAILS.items())
def test_a_hostile_server_costs_little_time_and_memory(
    replies: dict[str, Any], kind: str, answer: str, details: tuple[str, str]
) -> None:
    got, mebibytes = replies[answer]
    detail = details[kind == "langchain"]
    assert [status for status, _ in got] == ["failed"] * 4
    # What would not end by itself was ended, and for this reason.
    assert all(detail in words for _, words in got), got
    assert mebibytes < 300


def test_the_next_photo_is_asked_about(replies: dict[str, Any]) -> None:
    assert replies["good"][0] == [["answered", ""]] * 4
