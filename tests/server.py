"""`chat`: an OpenAI chat server on loopback; it answers as its script says and keeps requests."""

import base64
import json
import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

logging.getLogger("werkzeug").setLevel(logging.WARNING)
Answer = Callable[[], Response]


def completion(
    text: str | None, finish: str = "stop", refusal: str | None = None
) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": 321, "completion_tokens": 12, "total_tokens": 333},
    }


def says(text: str | None, finish: str = "stop", refusal: str | None = None) -> Answer:
    return lambda: sends(completion(text, finish, refusal))


def sends(
    content: Mapping[str, Any] | str,
    status: int = 200,
    kind: str = "application/json",
    **headers: str,
) -> Response:
    body = content if isinstance(content, str) else json.dumps(content)
    return Response(body, status, headers, content_type=kind)


def fails(status: int, code: str = "", message: str = "no", **headers: str) -> Answer:
    error = {"error": {"message": message, "type": code, "code": code or None, "param": None}}
    return lambda: sends(error, status, **headers)


_test_is_over = threading.Event()


def hangs() -> Response:
    """Answer nothing for as long as the test runs."""
    _test_is_over.wait()
    return sends(completion("1.5, 2.5"))


class ChatServer:
    """Answers requests as its script says; keeps every request."""

    def __init__(self, http: HTTPServer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self._script: list[Answer] = [says("48.8584, 2.2945")]
        self._one_at_a_time = threading.Lock()
        # Azure has the name of a deployment in the path.
        path = re.compile(r"/v1/(openai/)?(deployments/[^/]+/)?chat/completions")
        http.expect_request(path, method="POST").respond_with_handler(self._handle)
        self.url = http.url_for("/v1")

    def script(self, *answers: Answer) -> None:
        """What the next requests are answered with, in turn; the last one is repeated."""
        self._script = list(answers)

    def _handle(self, request: Request) -> Response:
        content = json.loads(request.get_data())
        with self._one_at_a_time:
            self.requests.append(content)
            self.headers.append(dict(request.headers))
            answer = self._script.pop(0) if len(self._script) > 1 else self._script[0]
        return answer()

    def text(self, number: int = -1) -> str:
        return str(self.requests[number]["messages"][0]["content"][0]["text"])

    def jpeg(self, number: int = -1) -> bytes:
        url = self.requests[number]["messages"][0]["content"][1]["image_url"]["url"]
        assert url.startswith("data:image/jpeg;base64,")
        return base64.b64decode(url.partition(",")[2])


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    with HTTPServer(threaded=True) as http:
        server = ChatServer(http)
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        _test_is_over.clear()
        yield server
        _test_is_over.set()
