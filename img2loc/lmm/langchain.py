"""Any chat model of LangChain by `provider:model`: Anthropic, Gemini, Bedrock, Ollama and more."""

from __future__ import annotations

import base64
import os
import weakref
from collections.abc import Mapping
from typing import Any

from img2loc.core.errors import (
    BackendError,
    ConfigError,
    MissingPackage,
    UnreadablePhoto,
    first_line,
)
from img2loc.core.types import Prompt, Reply, ReplyStatus, Usage
from img2loc.lmm.concurrent import Concurrent, within
from img2loc.lmm.privacy import keep_only_the_key
from img2loc.lmm.schema import PRICE, SCHEMA, Price, counted

_FATAL = {"AuthenticationError", "NotFoundError"}
# Errors that have nothing to do with the schema.
_NOT_THE_SCHEMA = _FATAL | {
    *("PermissionDeniedError", "RateLimitError", "InternalServerError", "APIConnectionError"),
    *("ConnectionError", "TimeoutError", "ReplyTooLong"),
    *("LengthFinishReasonError", "ContentFilterFinishReasonError"),
}
_FILTERED = ("content_filter", "content_policy_violation")
# Each provider has its own place and words for why a reply ended.
_REASONS = ("finish_reason", "stop_reason", "done_reason", "stopReason", "status")
_CUT_OFF = {"length", "max_tokens", "max_output_tokens", "incomplete"}
_REFUSED = {
    *("content_filter", "refusal", "safety", "guardrail_intervened", "prohibited_content"),
    "blocklist",
}
_SAME_SERVER = {
    *("temperature", "max_tokens", "timeout", "max_retries", "base_url", "api_key", "num_ctx"),
    *("seed", "top_p"),
}
"""Options that, `base_url` aside, do not change where photographs go."""
_MAX_BYTES = 1 << 17
"""Of one reply: what OpenAI's package makes of it can take hundreds of times as much."""
_ADDRESSES = ("://", "base_url", "api_base", "endpoint")
_SERVERS: dict[str, tuple[str, ...]] = {
    "openai": (),
    "azure_openai": ("AZURE_OPENAI_AD_TOKEN",),
    "anthropic": ("ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"),
    "ollama": ("OLLAMA_API_KEY",),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
    "bedrock_converse": ("AWS_BEARER_TOKEN_BEDROCK",),
}
"""Providers whose options may name a server: secrets of the environment that their packages send
there, whatever `api_key` is. Other packages are not known; some ignore an `api_key`."""
_WITHOUT_KEY = ("ollama", "bedrock", "bedrock_converse")
"""Providers whose packages need no key, or send no more than a signature."""


def _names(error: Exception) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_filtered(error: Exception) -> bool:
    return getattr(error, "code", None) in _FILTERED


class LangChain(Concurrent):
    """A chat model of LangChain's `init_chat_model`, asked with a text and an image block.

    `model` is "provider:model"; its key is where the provider's package looks for it. `options` go
    to the model as they are (temperature, base_url, timeout …); a server that they name gets no key
    but the `api_key` among them. With `structured`, a JSON schema is sent; a model that
    refuses it is asked without from then on. Tracing to third parties is off unless
    LANGSMITH_TRACING is set. Where requests are made by OpenAI's package (`openai`, `azure_openai`
    and others), `http_limits.py` limits a reply's length, and an attempt to the `timeout` of the
    options (60 s). Other packages limit no reply's length; a call of theirs counts as failed after
    (`max_retries` + 1) · `timeout`, but goes on unheard. Raises MissingPackage or ConfigError.
    """

    def __init__(
        self,
        model: str,
        *,
        options: Mapping[str, Any] | None = None,
        structured: bool = True,
        image_side: int = 1024,
        concurrency: int = 4,
        price: Price = PRICE,
    ) -> None:
        super().__init__(concurrency)
        options = options or {}
        elsewhere = _names_a_server(model, options)
        seconds, retries = options.get("timeout", 60.0), options.get("max_retries", 2)
        if not (isinstance(seconds, int | float) and seconds > 0):
            raise ConfigError(f"The timeout of {model!r} is {seconds!r}, not seconds above 0.")
        if not (isinstance(retries, int) and retries >= 0):
            raise ConfigError(f"The max_retries of {model!r} is {retries!r}; it must be 0 or more.")
        try:
            from langchain.chat_models import init_chat_model

            self._chat: Any = init_chat_model(model, **_without_redirects(model, options))
        except ImportError as error:
            raise MissingPackage(
                f"The LMM {model!r} needs {error.name or 'a package of LangChain'}: pip install"
                " 'img2loc[langchain]' and the provider's package, such as"
                f" langchain-{model.partition(':')[0]}."
            ) from error
        except Exception as error:
            raise ConfigError(
                f"LangChain cannot make {model!r}: {first_line(error)}. Write it as provider:model."
            ) from error
        self._seconds: float | None = (retries + 1) * seconds
        if getattr(self._chat, "root_client", None):  # of OpenAI's package
            self._bound(seconds, options if elsewhere else None)
        self._model = model
        self._side = image_side
        self._price = price
        self.structured = structured

    def _bound(self, seconds: float, given: Mapping[str, Any] | None) -> None:
        """Limit each attempt and reply; for a server of the options, keep what is `given` only."""
        from img2loc.lmm.http_limits import BoundedClient

        proxy = getattr(self._chat, "openai_proxy", None)
        http = BoundedClient(seconds, _MAX_BYTES, proxy=proxy)
        client = self._chat.root_client.with_options(http_client=http, timeout=seconds)
        if given is not None:
            keep_only_the_key(client, given)
        self._chat.root_client, self._chat.client = client, client.chat.completions
        self._seconds = None
        weakref.finalize(self, client.close)

    @classmethod
    def endpoint(cls, model: str, options: Mapping[str, Any] | None = None, **_: object) -> str:
        """Where photographs go, if the table alone says so; else the provider's name."""
        provider, given = model.partition(":")[0], options or {}
        if provider not in ("openai", "ollama") or not set(given) <= _SAME_SERVER:
            return f"the provider {provider}"
        default = f"the provider {provider}"
        if provider == "ollama":
            default = os.environ.get("OLLAMA_HOST") or "http://localhost:11434"
        return str(given.get("base_url") or default)

    several_photos = True

    def prepare(self, prompt: Prompt) -> list[str] | Reply:
        """The photographs as JPEGs in base64, or why they cannot be sent."""
        try:
            jpegs = [photo.jpeg(self._side) for photo in (prompt.photo, *prompt.shown)]
            return [base64.b64encode(jpeg).decode() for jpeg in jpegs]
        except UnreadablePhoto as error:
            return self._reply("", "failed", f"the photo cannot be sent: {error}")

    def answer(self, prompt: Prompt, prepared: list[str] | Reply) -> Reply:
        """The reply to one prompt; BackendError for a bad key or an unknown model."""
        if isinstance(prepared, Reply):
            return prepared
        images = [{"type": "image", "base64": jpeg, "mime_type": "image/jpeg"} for jpeg in prepared]
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt.text}, *images]}]
        try:
            return self._read(self._invoke(messages, prompt.answer == "coordinates"))
        except Exception as error:  # Every provider has a tree of errors of its own.
            reason = first_line(error)
            names = _names(error)
            if "LengthFinishReasonError" in names:
                return self._cut_off(getattr(error, "completion", None))
            if "ContentFilterFinishReasonError" in names or _is_filtered(error):
                return self._reply("", "refused", "stopped by the provider's content filter")
            if names & _FATAL or "insufficient_quota" in str(error):
                raise BackendError(
                    f"{self._model} cannot be used: {reason}. Check the key, the model and the"
                    " credit."
                ) from error
            return self._reply("", "failed", f"{type(error).__name__}: {reason}")

    def _invoke(self, messages: list[dict[str, Any]], as_coordinates: bool) -> Any:
        from langsmith import tracing_context

        wanted = any(
            os.environ.get(name, "").lower() in ("true", "1")
            for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2")
        )
        with tracing_context(enabled=wanted):
            if not (self.structured and as_coordinates):
                return self._call(self._chat, messages)
            try:
                bound = self._chat.with_structured_output(
                    SCHEMA, method="json_schema", include_raw=True
                )
                return self._call(bound, messages)["raw"]
            except Exception as error:
                if _names(error) & _NOT_THE_SCHEMA or _is_filtered(error):
                    raise
                # If it fails too, the schema is not why.
                message = self._call(self._chat, messages)
                self.structured = False
                return message

    def _call(self, chat: Any, messages: list[dict[str, Any]]) -> Any:
        if self._seconds is None:
            return chat.invoke(messages)
        return within(self._seconds, lambda: chat.invoke(messages))

    def _read(self, message: Any) -> Reply:
        facts = message.response_metadata or {}
        reason = str(next((facts[key] for key in _REASONS if facts.get(key)), "")).lower()
        used = message.usage_metadata or {}
        usage = counted(used.get("input_tokens"), used.get("output_tokens"), self._price)
        text = str(message.text).encode("utf-8", "replace").decode()
        refusal = message.additional_kwargs.get("refusal")
        if refusal or reason in _REFUSED:
            return self._reply(
                text, "refused", str(refusal or f"stopped by the provider ({reason})"), usage
            )
        if reason in _CUT_OFF:
            return self._reply(text, "truncated", "cut off at the model's limit of tokens", usage)
        if not text.strip():
            return self._reply("", "failed", "the reply is empty", usage)
        return self._reply(text, "answered", "", usage)

    def _cut_off(self, completion: Any) -> Reply:
        """The reply inside the error that OpenAI's package raises for a structured one cut off."""
        choices, used = getattr(completion, "choices", None), getattr(completion, "usage", None)
        text = (choices[0].message.content or "") if choices else ""
        usage = counted(
            getattr(used, "prompt_tokens", None),
            getattr(used, "completion_tokens", None),
            self._price,
        )
        return self._reply(text, "truncated", "cut off at the model's limit of tokens", usage)

    def _reply(
        self, text: str, status: ReplyStatus, detail: str, usage: Usage | None = None
    ) -> Reply:
        return Reply(text, self._model, status, usage, detail)


def _without_redirects(model: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Ollama's package follows them by itself: a local server could send a photograph elsewhere."""
    if not model.startswith("ollama:"):
        return options
    return {
        **options,
        "client_kwargs": {"follow_redirects": False} | options.get("client_kwargs", {}),
    }


def _names_a_server(model: str, options: Mapping[str, Any]) -> bool:
    """Whether the options name a server. Raises ConfigError if it would get the provider's key."""
    provider = model.partition(":")[0]
    if unfit := sorted({"model_provider", "configurable_fields"} & set(options)):
        raise ConfigError(
            f"The LMM {model!r} takes no option {unfit[0]}. Write the model as provider:model."
        )
    if not any(word in str(options) for word in _ADDRESSES):
        return False
    if provider not in _SERVERS:
        raise ConfigError(
            f"The options of {model!r} name a server, which might be sent the provider's key of the"
            ' environment. Use kind = "openai" with base_url and key_env, or name the server in the'
            " environment too, where the provider's package looks for it."
        )
    if provider == "azure_openai" and options.get("azure_ad_token"):
        return True  # Sent instead of any other key.
    if provider not in _WITHOUT_KEY and not options.get("api_key"):
        raise ConfigError(
            f"The options of {model!r} name a server and no api_key, so it would be sent the"
            ' provider\'s key of the environment. Set api_key among them ("none" if the server'
            ' wants none), or use kind = "openai" with base_url and key_env.'
        )
    if found := next(filter(os.environ.get, _SERVERS[provider]), None):
        raise ConfigError(
            f"The options of {model!r} name a server, which would be sent {found} of the"
            " environment. Unset it, or name the server in the environment too, where the"
            " provider's package looks for it."
        )
    return True
