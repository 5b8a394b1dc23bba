"""What an LMM's server cannot do to its client: use up the memory, or answer without end."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.conftest import picture
from tests.hostile import serving

LATE = "no complete answer within 0.5 s"
LONG = "longer than 1,048,576 bytes"
FAILS = {
    "silent": LATE,
    "dribbling headers": LATE,
    "dribbling body": LATE,
    "dribbling error": LATE,
    "endless headers": "no connection to",
    "endless continues": LATE,
    "endless body": LONG,
    "endless error": LONG,
    "one long line": LONG,
    "many choices": "cannot be read",
    "deeply nested": "cannot be read",
    "gzip bomb": LONG,
    "deflate bomb": LONG,
    "gzipped gzip bomb": LONG,
    "redirect loop": "the server answered 307",
}
TIMEOUTS = {"good": 60.0} | {
    answer: 0.5 if detail == LATE else 60.0 for answer, detail in FAILS.items()
}
ASKING = """
import json, sys
from pathlib import Path
from img2loc.lmm.openai import OpenAIChat
from img2loc.core.types import Photo, Prompt

def most_memory():
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024

url, photo, timeouts = sys.argv[1:]
replies = {}
for model, timeout in json.loads(timeouts).items():
    lmm = OpenAIChat(model, base_url=url, timeout=timeout, retries=1, structured=False)
    before = most_memory()
    prompts = [Prompt("Where?", Photo(Path(photo)))] * 4
    got = [[reply.status, reply.detail] for reply in lmm.ask(prompts)]
    replies[model] = got, most_memory() - before
print(json.dumps(replies))
"""


@pytest.fixture(scope="module")
def replies(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """For each way to answer: four replies at once, and the MiB that memory grew by at most."""
    photo = tmp_path_factory.mktemp("photos") / "photo.jpg"
    picture().save(photo)
    with serving() as url:
        command = [sys.executable, "-c", ASKING, url, str(photo), json.dumps(TIMEOUTS)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(("answer", "detail"), FAILS.items())
def test_a_hostile_server_costs_little_time_and_memory(
    replies: dict[str, Any], answer: str, detail: str
) -> None:
    got, mebibytes = replies[answer]
    assert [status for status, _ in got] == ["failed"] * 4
    # What would not end by itself was ended, and for this reason.
    assert all(detail in words for _, words in got), got
    assert mebibytes < 300


def test_the_next_photo_is_asked_about(replies: dict[str, Any]) -> None:
    assert replies["good"][0] == [["answered", ""]] * 4
