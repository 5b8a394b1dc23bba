"""Any chat model of LangChain by `provider:model`: Anthropic, Gemini, Bedrock, Ollama and more."""

from __future__ import annotations

import base64
import os
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
from img2loc.lmm.concurrent import Concurrent
from img2loc.lmm.privacy import keep_only_the_key
from img2loc.lmm.schema import PRICE, SCHEMA, Price, counted

_FATAL = {"AuthenticationError", "NotFoundError"}
# Errors that have nothing to do with the schema.
_NOT_THE_SCHEMA = _FATAL | {
    *("PermissionDeniedError", "RateLimitError", "InternalServerError", "APIConnectionError"),
    *("ConnectionError", "TimeoutError"),
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
_ADDRESSES = ("://", "base_url", "api_base", "endpoint")
_WITHOUT_KEY = ("ollama", "bedrock", "bedrock_converse")
"""Providers whose packages send no key to the server that the options name."""


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
    LANGSMITH_TRACING is set. The requests are the provider's package's, with its own limits: a
    reply is not bounded here. Raises MissingPackage or ConfigError.
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
        try:
            from langchain.chat_models import init_chat_model

            self._chat: Any = init_chat_model(model, **options)
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
        client = getattr(self._chat, "root_client", None)  # of OpenAI's package
        if elsewhere and client:
            keep_only_the_key(client, options)
        self._model = model
        self._side = image_side
        self._price = price
        self.structured = structured

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

    def prepare(self, prompt: Prompt) -> str | Reply:
        """The photograph as a JPEG in base64, or why it cannot be sent."""
        try:
            return base64.b64encode(prompt.photo.jpeg(self._side)).decode()
        except UnreadablePhoto as error:
            return self._reply("", "failed", f"the photo cannot be sent: {error}")

    def answer(self, prompt: Prompt, prepared: str | Reply) -> Reply:
        """The reply to one prompt; BackendError for a bad key or an unknown model."""
        if isinstance(prepared, Reply):
            return prepared
        image = {"type": "image", "base64": prepared, "mime_type": "image/jpeg"}
        messages = [{"role": "user", "content": [{"type": "text", "text": prompt.text}, image]}]
        try:
            return self._read(self._invoke(messages))
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

    def _invoke(self, messages: list[dict[str, Any]]) -> Any:
        from langsmith import tracing_context

        wanted = any(
            os.environ.get(name, "").lower() in ("true", "1")
            for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2")
        )
        with tracing_context(enabled=wanted):
            if not self.structured:
                return self._chat.invoke(messages)
            try:
                bound = self._chat.with_structured_output(
                    SCHEMA, method="json_schema", include_raw=True
                )
                return bound.invoke(messages)["raw"]
            except Exception as error:
                if _names(error) & _NOT_THE_SCHEMA or _is_filtered(error):
                    raise
                message = self._chat.invoke(messages)  # If it fails too, the schema is not why.
                self.structured = False
                return message

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


def _names_a_server(model: str, options: Mapping[str, Any]) -> bool:
    """Whether the options name a server. Raises ConfigError if it would get the provider's key."""
    provider = model.partition(":")[0]
    if unfit := sorted({"model_provider", "configurable_fields"} & set(options)):
        raise ConfigError(
            f"The LMM {model!r} takes no option {unfit[0]}. Write the model as provider:model."
        )
    if not any(word in str(options) for word in _ADDRESSES):
        return False
    if provider not in _WITHOUT_KEY and not (
        options.get("api_key") or options.get(f"{provider}_api_key")
    ):
        raise ConfigError(
            f"The options of {model!r} name a server and no api_key, so it would be sent the"
            ' provider\'s key of the environment. Set api_key among them ("none" if the server'
            ' wants none), or use kind = "openai" with base_url and key_env.'
        )
    return True
