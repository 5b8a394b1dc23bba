"""Servers that misbehave in every known way, a thousand photos, and no reply lost or doubled."""

import json
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from img2loc.core.types import Photo, Prompt
from img2loc.lmm.openai import OpenAIChat
from tests.conftest import MakePhoto
from tests.server import completion


class RawServer:
    """HTTP by hand, so that connections can be broken where no library would break them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1"
        self.sent: list[str] = []
        self.faults: dict[str, str] = {}
        self.closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.closed.set()
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            stream = connection.makefile("rwb")
            while True:
                try:
                    if not self._one(connection, stream):
                        return
                except OSError:
                    return

    def _one(self, connection: socket.socket, stream) -> bool:  # type: ignore[no-untyped-def]
        if not stream.readline():
            return False
        length = 0
        while (header := stream.readline().strip()) != b"":
            if header.lower().startswith(b"content-length:"):
                length = int(header.split(b":")[1])
        text = json.loads(stream.read(length))["messages"][0]["content"][0]["text"]
        fault = self.faults.pop(text, "")
        body = json.dumps(completion(f"1.5, 2.5 for {text}")).encode()
        status, kind, extra = "200 OK", "application/json", ""
        if fault == "429":
            status, body = "429 Too Many Requests", b"{}"
        elif fault == "429 after":
            status, body, extra = "429 Too Many Requests", b"{}", "retry-after-ms: 20\r\n"
        elif fault in ("500", "503"):
            status, body = f"{fault} Broken", b"oops"
        elif fault == "half json":
            body = body[: len(body) // 2]
        elif fault == "no choices":
            body = json.dumps({**completion("x"), "choices": []}).encode()
        elif fault == "null content":
            body = json.dumps(completion(None)).encode()
        elif fault == "refusal":
            body = json.dumps(completion(None, refusal="no")).encode()
        elif fault == "huge":
            body = json.dumps(completion("word " * 2_000_000)).encode()
        elif fault == "wrong type":
            kind, body = "text/plain", b"hello"
        elif fault == "hang":
            self.closed.wait()
        head = (
            f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length:"
            f" {len(body)}\r\n{extra}\r\n".encode()
        )
        if fault == "reset":
            stream.write(head + body[:10])
            stream.flush()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return False
        if status.startswith("200"):
            self.sent.append(text)  # Before it is sent: the test may end while this thread waits.
        stream.write(head + body)
        stream.flush()
        return True


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RawServer]:
    raw = RawServer()
    monkeypatch.setenv("OPENAI_BASE_URL", raw.url)
    yield raw
    raw.close()


STATUS = {
    "429": "answered",  # asked again, and then answered
    "429 after": "answered",
    "500": "answered",
    "503": "answered",
    "reset": "answered or failed",
    "half json": "failed",
    "no choices": "failed",
    "null content": "failed",
    "refusal": "refused",
    "huge": "failed",
    "wrong type": "failed",
    "hang": "answered or failed",
}


@pytest.mark.parametrize("fault", STATUS)
def test_each_fault_costs_its_own_photo_at_most(
    server: RawServer, make_photo: MakePhoto, fault: str
) -> None:
    photo = Photo(make_photo())
    server.faults = {"number 1": fault}
    model = OpenAIChat("gpt-4o", timeout=2.0 if fault == "hang" else 60.0, retries=1, concurrency=1)
    first, second, third = model.ask(Prompt(f"number {n}", photo) for n in range(3))
    assert (first.status, third.status) == ("answered", "answered")
    assert second.status in STATUS[fault].split(" or "), second
    assert second.status == "answered" or second.detail


def test_a_thousand_photos_with_faults_at_random(server: RawServer, make_photo: MakePhoto) -> None:
    photo = Photo(make_photo())
    dice = random.Random(0)
    kinds = [kind for kind in STATUS if kind not in ("hang", "huge")]
    server.faults = {f"number {n}": dice.choice(kinds) for n in range(1000) if dice.random() < 0.1}
    planned = dict(server.faults)
    model = OpenAIChat("gpt-4o", timeout=60.0, retries=2, concurrency=32)
    replies = list(model.ask(Prompt(f"number {n}", photo) for n in range(1000)))
    assert len(replies) == 1000
    for n, reply in enumerate(replies):
        expected = STATUS[planned[f"number {n}"]] if f"number {n}" in planned else "answered"
        assert reply.status in expected.split(" or "), (n, reply)
        if reply.status == "answered":
            assert reply.text == f"1.5, 2.5 for number {n}"  # its own reply, in its own place
    # Every good reply that the server sent came out exactly once.
    assert len(server.sent) == len(set(server.sent))
    assert {
        reply.text.removeprefix("1.5, 2.5 for ") for reply in replies if reply.status == "answered"
    } <= set(server.sent)


def test_memory_does_not_grow_with_the_number_of_prompts(
    make_photo: MakePhoto, tmp_path: Path
) -> None:
    """What is alive at once is bounded by the window, not by the length of the stream."""
    import gc
    import weakref

    from img2loc.core.types import Reply
    from img2loc.lmm.concurrent import in_flight

    class Counted(Prompt):
        __slots__ = ("__weakref__",)

    alive: weakref.WeakSet[Counted] = weakref.WeakSet()
    most: dict[int, int] = {}
    photo = Photo(make_photo())
    for total in (100, 5000):
        most[total] = 0

        def prompts(total: int = total) -> Iterator[Prompt]:
            for n in range(total):
                prompt = Counted(f"{n}", photo)
                alive.add(prompt)
                most[total] = max(most[total], len(alive))
                yield prompt

        for _ in in_flight(
            lambda prompt: None, lambda prompt, _: Reply(prompt.text, "m", "answered"), prompts(), 8
        ):
            pass
        gc.collect()
    assert most[5000] <= most[100] + 16 <= 64
