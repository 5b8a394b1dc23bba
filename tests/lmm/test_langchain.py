"""The langchain backend: with LangChain's fake model, and with its OpenAI package over loopback."""

import threading
from typing import Any

import pytest

from img2loc.core.errors import BackendError, ConfigError, MissingPackage
from img2loc.core.types import Photo, Prompt, Reply
from img2loc.lmm.langchain import LangChain
from tests.conftest import MakePhoto
from tests.server import ChatServer, fails, says

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")


@pytest.fixture
def prompt(make_photo: MakePhoto) -> Prompt:
    return Prompt("Where?", Photo(make_photo()))


def over_http(chat: ChatServer, prompts: list[Prompt], **options: Any) -> list[Reply]:
    model = {"api_key": "k", "base_url": chat.url, "max_retries": 0, "timeout": 60.0}
    return list(LangChain("openai:gpt-4o", options=model, concurrency=1, **options).ask(prompts))


def test_a_fake_chat_model_gets_the_text_and_the_image(
    monkeypatch: pytest.MonkeyPatch, prompt: Prompt
) -> None:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage

    seen: list[Any] = []

    class Fake(GenericFakeChatModel):
        def _generate(self, messages: list[Any], *args: Any, **kwargs: Any) -> Any:
            seen.append(messages)
            return super()._generate(messages, *args, **kwargs)

    fake = Fake(messages=iter([AIMessage("48.8584, 2.2945"), AIMessage("1.5, 2.5")]))
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda model, **options: fake)
    model = LangChain("fake:model", concurrency=1)
    assert [reply.text for reply in model.ask([prompt, prompt])] == ["48.8584, 2.2945", "1.5, 2.5"]
    text, image = seen[0][0].content
    assert text == {"type": "text", "text": "Where?"}
    assert (image["type"], image["mime_type"]) == ("image", "image/jpeg")
    assert model.structured is False  # the fake does not take it; it was asked without


def test_a_package_with_no_limit_of_time_gets_one(
    monkeypatch: pytest.MonkeyPatch, prompt: Prompt
) -> None:
    """As a reply that drips for ever."""
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel

    over, asked = threading.Event(), []

    class Drips(GenericFakeChatModel):
        def _generate(self, *args: Any, **kwargs: Any) -> Any:
            asked.append(args)
            over.wait()
            raise RuntimeError

    fake = Drips(messages=iter([]))
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda model, **options: fake)
    options = {"timeout": 0.1, "max_retries": 1}
    model = LangChain("fake:model", options=options, concurrency=1, structured=False)
    (reply,) = model.ask([prompt])
    over.set()
    assert (reply.status, len(asked)) == ("failed", 1)
    assert reply.detail.endswith("no complete answer within 0.2 s")


def test_ollama_follows_no_redirect(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(
        "langchain.chat_models.init_chat_model", lambda _, **options: given.append(options)
    )
    LangChain("ollama:llava", options={"num_ctx": 4096, "client_kwargs": {"timeout": 5}})
    client = {"follow_redirects": False, "timeout": 5}
    assert given == [{"num_ctx": 4096, "client_kwargs": client}]


@pytest.mark.parametrize("options", [{"timeout": 0}, {"timeout": "60"}, {"max_retries": -1}])
def test_limits_that_are_none_are_said(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"The {next(iter(options))} of 'openai:gpt-4o' is"):
        LangChain("openai:gpt-4o", options=options)


def test_the_real_openai_integration(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(says('{"latitude": 48.8584, "longitude": 2.2945}'))
    (reply,) = over_http(chat, [prompt], price={"input": 2.5, "output": 10.0})
    assert (reply.status, reply.text) == ("answered", '{"latitude": 48.8584, "longitude": 2.2945}')
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (321, 12)
    assert reply.usage.cost_usd == pytest.approx(321 * 2.5e-6 + 12 * 10e-6)
    assert chat.jpeg().startswith(b"\xff\xd8")
    assert chat.text() == "Where?"
    assert chat.requests[0]["response_format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (says("I cannot say", finish="length"), "truncated"),
        (says(None, refusal="No."), "refused"),
        (says("", finish="content_filter"), "refused"),
        (says("  "), "failed"),
        (fails(500), "failed"),
        (fails(429), "failed"),
        (says("free text, 48.8584, 2.2945"), "answered"),
    ],
)
def test_the_same_statuses_as_the_openai_backend(
    chat: ChatServer, prompt: Prompt, answer: Any, status: str
) -> None:
    for structured in (False, True):
        chat.script(answer)
        (reply,) = over_http(chat, [prompt], structured=structured)
        assert reply.status == status, (structured, reply)


def test_a_server_that_does_not_take_the_form_is_asked_without(
    chat: ChatServer, prompt: Prompt
) -> None:
    chat.script(fails(400, "bad", "response_format is not supported"), says("1.5, 2.5"))
    assert [reply.status for reply in over_http(chat, [prompt] * 2)] == ["answered"] * 2
    assert ["response_format" in request for request in chat.requests] == [True, False, False]


def test_what_there_is_of_a_reply_that_was_cut_off(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(says("48.8584, 2.2945 is", finish="length"))
    (reply,) = over_http(chat, [prompt])
    assert (reply.status, reply.text) == ("truncated", "48.8584, 2.2945 is")
    assert reply.usage is not None


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("ollama:llama3", {"model_provider": "openai"}),
        (
            "openai:gpt-4o",
            {"base_url": "http://127.0.0.1:1", "openai_proxy": "http://proxy.example.com"},
        ),
        ("google_genai:gemini", {"base_url": "http://127.0.0.1:1"}),
        ("openai:gpt-4o", {}),
    ],
)
def test_what_may_go_elsewhere_is_not_called_local(model: str, options: dict[str, Any]) -> None:
    assert LangChain.endpoint(model, options).startswith("the provider ")
    assert LangChain.endpoint("ollama:llama3", {"num_ctx": 4096}) == "http://localhost:11434"


def test_a_bad_key_stops_the_run(chat: ChatServer, prompt: Prompt) -> None:
    chat.script(fails(401, "invalid_api_key", "Incorrect API key"))
    with pytest.raises(BackendError, match="Incorrect API key"):
        over_http(chat, [prompt])


def test_what_cannot_be_made_says_what_to_install() -> None:
    with pytest.raises(MissingPackage, match="langchain-anthropic"):
        LangChain("anthropic:claude-sonnet-4-5")
    with pytest.raises(ConfigError, match="provider:model"):
        LangChain("no such thing")


@pytest.mark.parametrize(("wanted", "expected"), [("", False), ("true", True)])
def test_tracing_is_off_unless_it_is_asked_for(
    chat: ChatServer, prompt: Prompt, monkeypatch: pytest.MonkeyPatch, wanted: str, expected: bool
) -> None:
    import contextlib

    import langsmith

    seen: list[Any] = []

    @contextlib.contextmanager
    def context(**options: Any) -> Any:
        seen.append(options["enabled"])
        yield

    monkeypatch.setenv("LANGSMITH_TRACING", wanted)
    monkeypatch.setattr(langsmith, "tracing_context", context)
    monkeypatch.setattr("langchain_core.tracers.context._tracing_v2_is_enabled", lambda: False)
    over_http(chat, [prompt])
    assert seen == [expected]
