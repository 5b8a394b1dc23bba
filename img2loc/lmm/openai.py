"""Any server with OpenAI's chat protocol: OpenAI, vLLM, llama.cpp, Ollama, `transformers serve`."""

from __future__ import annotations

import base64
import os
import weakref
from typing import Any, Literal

from img2loc.core.errors import BackendError, ConfigError, UnreadablePhoto
from img2loc.core.types import Prompt, Reply, ReplyStatus, Usage
from img2loc.lmm.concurrent import Concurrent
from img2loc.lmm.privacy import is_loopback, keep_only_the_key
from img2loc.lmm.schema import PRICE, RESPONSE_FORMAT, Price, counted

_PUBLIC = "https://api.openai.com/v1"
_FILTERED = ("content_filter", "content_policy_violation")


class OpenAIChat(Concurrent):
    """Chat completions with a photograph in them.

    The server is `base_url`, else OPENAI_BASE_URL, else OpenAI's; the key is in the environment
    variable `key_env`, by default OPENAI_API_KEY unless `base_url` is set. What is sent: the
    prompt's text, and the photograph re-encoded as a JPEG of at most `image_side` pixels and of
    `image_quality`, 1 to 100, without EXIF, comment or file name. With `structured`, a JSON schema
    is sent too; a server that refuses it is asked without from then on. `temperature` is sent only
    when set (reasoning models refuse it). `timeout` is in seconds for one whole attempt, even if
    bytes still come; `retries` more are made after 429, 5xx, timeouts and connection errors,
    honouring Retry-After. So a server keeps a photograph for (retries + 1) · timeout at most, and
    the waits between. `http_limits.py` limits a reply's length. `price` is in US dollars per
    million tokens. Raises BackendError without a key.
    """

    ignores_proxies = True
    several_photos = True

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        key_env: str | None = None,
        structured: bool = True,
        max_tokens: int | None = 1000,
        temperature: float | None = None,
        seed: int | None = None,
        detail: Literal["auto", "low", "high"] = "auto",
        image_side: int = 1024,
        image_quality: int = 85,
        timeout: float = 60.0,
        retries: int = 2,
        concurrency: int = 4,
        price: Price = PRICE,
    ) -> None:
        super().__init__(concurrency)
        from openai import OpenAI

        from img2loc.lmm.http_limits import BoundedClient

        if image_side < 1 or not timeout > 0 or retries < 0:
            raise ConfigError(
                f"image_side is {image_side}, timeout {timeout}, retries {retries}: only retries"
                " may be 0, none less."
            )
        if not 1 <= image_quality <= 100:
            raise ConfigError(f"image_quality is {image_quality}; JPEG's is 1 to 100.")
        address = base_url or os.environ.get("OPENAI_BASE_URL")
        # OpenAI's key is not for other servers.
        variable = key_env or ("OPENAI_API_KEY" if base_url is None else None)
        key = os.environ.get(variable) if variable else None
        if not key and not address:
            raise BackendError(
                f"No LMM can be asked: {variable} is not set. Export a key, or set OPENAI_BASE_URL"
                " to a server of your own."
            )
        # What is meant for this machine stays on it: no proxy of the environment.
        client = BoundedClient(timeout, trust_env=not is_loopback(self.endpoint(base_url)))
        self._client = OpenAI(
            api_key=key or "none",
            base_url=address,
            timeout=timeout,
            max_retries=retries,
            http_client=client,
        )
        weakref.finalize(self, self._client.close)
        if base_url is not None:
            keep_only_the_key(self._client, {})
        self._model = model
        self._timeout = timeout
        self._detail = detail
        self._side, self._quality = image_side, image_quality
        self._price = price
        self.structured = structured
        self._has_answered = False
        options: dict[str, Any] = {
            "max_completion_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        self._options = {name: value for name, value in options.items() if value is not None}

    @classmethod
    def endpoint(cls, base_url: str | None = None, **_: object) -> str:
        """Where photographs go."""
        return base_url or os.environ.get("OPENAI_BASE_URL") or _PUBLIC

    @classmethod
    def lacks(cls, base_url: str | None = None, key_env: str | None = None, **_: object) -> str:
        """What to set where there is neither a key nor a server; else ""."""
        variable = key_env or "OPENAI_API_KEY"
        there = base_url or os.environ.get("OPENAI_BASE_URL") or os.environ.get(variable)
        return "" if there else f"export {variable}, or OPENAI_BASE_URL for a server of your own"

    def prepare(self, prompt: Prompt) -> list[str] | Reply:
        """The photographs as data URLs, or why they cannot be sent."""
        try:
            photos = (prompt.photo, *prompt.shown)
            jpegs = [photo.jpeg(self._side, self._quality) for photo in photos]
        except UnreadablePhoto as error:
            return self._failed(f"the photo cannot be sent: {error}")
        return [f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}" for jpeg in jpegs]

    def answer(self, prompt: Prompt, prepared: list[str] | Reply) -> Reply:
        """The reply to one prompt; BackendError for a bad key, an unknown model, no credit left."""
        import openai

        if isinstance(prepared, Reply):
            return prepared
        try:
            return self._read(self._send(prompt, prepared))
        except (
            openai.PermissionDeniedError,
            openai.AuthenticationError,
            openai.NotFoundError,
        ) as error:
            if self._has_answered and isinstance(error, openai.PermissionDeniedError):
                # The key is good, so it is this photograph that is not permitted.
                return self._reply("", "refused", _reason(error))
            raise BackendError(
                f"{self._where()} refuses to work: {_reason(error)} Check the key, the model and"
                " the address."
            ) from error
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise BackendError(
                    f"{self._where()} says that no credit is left: {_reason(error)} Top up, or use"
                    " another LMM."
                ) from error
            return self._failed(f"too many requests, even after waiting: {_reason(error)}")
        except openai.BadRequestError as error:
            status: ReplyStatus = "refused" if error.code in _FILTERED else "failed"
            return self._reply("", status, _reason(error))
        except openai.APITimeoutError:
            return self._failed(f"no complete answer within {self._timeout:g} s")
        except openai.APIConnectionError as error:
            reason = str(error.__cause__ or error)
            return self._failed(f"no connection to {self._client.base_url}: {reason}")
        except openai.APIStatusError as error:
            reason = _reason(error)
            if elsewhere := error.response.headers.get("location"):
                # Not followed: the photograph goes where the user said.
                reason = f"it redirects to {elsewhere}. If that is right, make it the base_url."
            return self._failed(f"the server answered {error.status_code}: {reason}")
        except Exception as error:  # Half a JSON, a broken connection: each library has its own.
            reason = f"{type(error).__name__}: {_reason(error)}"
            return self._failed(f"the server's reply cannot be read: {reason}")

    def _send(self, prompt: Prompt, pictures: list[str]) -> Any:
        import openai

        images: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": picture, "detail": self._detail}}
            for picture in pictures
        ]
        content = [{"type": "text", "text": prompt.text}, *images]
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            **self._options,
        }
        if "seed" in request:
            request["seed"] += prompt.sample
        if not self.structured or prompt.answer != "coordinates":
            return self._post(request)
        try:
            return self._post({**request, "response_format": RESPONSE_FORMAT})
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if error.code in _FILTERED:
                raise
            # If this fails too, the schema was not the cause, and the error is this one's.
            answer = self._post(request)
            self.structured = False
            return answer

    def _post(self, request: dict[str, Any]) -> Any:
        # The SDK's own call, without its walk over a request that is well-formed already (half the
        # CPU of a request), and without its classes, which take a hundred times the bytes of a
        # reply.
        return self._client.post("/chat/completions", body=request, cast_to=object)

    def _read(self, answer: Any) -> Reply:
        """A completion → a reply; servers are many, so no field is trusted to be there."""
        if not isinstance(answer, dict) or not answer.get("choices"):
            return self._failed(f"the server's reply has no choices in it: {str(answer)[:200]}")
        self._has_answered = True
        choice, used = answer["choices"][0], answer.get("usage")
        used = used if isinstance(used, dict) else {}
        usage = counted(used.get("prompt_tokens"), used.get("completion_tokens"), self._price)
        # Half a surrogate pair can be sent, but not written.
        text = (choice["message"].get("content") or "").encode("utf-8", "replace").decode()
        refusal = choice["message"].get("refusal")
        if refusal:
            return self._reply(text, "refused", str(refusal), usage)
        if choice.get("finish_reason") == "content_filter":
            return self._reply(text, "refused", "stopped by the server's content filter", usage)
        if choice.get("finish_reason") == "length":
            limit = self._options.get("max_completion_tokens", "the limit of")
            detail = f"cut off at {limit} tokens; raise max_tokens"
            return self._reply(text, "truncated", detail, usage)
        if not text.strip():
            return self._reply("", "failed", "the reply is empty", usage)
        return self._reply(text, "answered", "", usage)

    def _reply(
        self, text: str, status: ReplyStatus, detail: str, usage: Usage | None = None
    ) -> Reply:
        return Reply(text, self._model, status, usage, detail)

    def _failed(self, detail: str) -> Reply:
        return self._reply("", "failed", detail)

    def _where(self) -> str:
        return f"{self._client.base_url.host} ({self._model})"


def _reason(error: Exception) -> str:
    """The server's own words where it gave some, in one line."""
    body = getattr(error, "body", None)
    words = body.get("message") if isinstance(body, dict) else None
    reason = str(words or getattr(error, "message", "") or error).strip() or type(error).__name__
    return reason.splitlines()[0][:300]
