"""Any server that speaks the OpenAI chat protocol: OpenAI, vLLM, llama.cpp, Ollama, `transformers serve`."""

from __future__ import annotations

import base64
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Literal

from img2loc.errors import BackendError, UnreadablePhoto
from img2loc.types import Prompt, Reply, ReplyStatus, Usage


class OpenAIChat:
    """Chat completions with a photograph in them.

    `OPENAI_API_KEY` and `OPENAI_BASE_URL` come from the environment. What is sent: the prompt's text, and the photograph
    re-encoded as a JPEG of at most `image_side` pixels without EXIF, comment or file name. `temperature` is sent only when set
    (reasoning models refuse it). `timeout` is in seconds for one attempt; `retries` of them are made after 429, 5xx and
    connection errors, honouring Retry-After. Raises BackendError without a key.
    """

    def __init__(
        self,
        model: str,
        *,
        max_tokens: int | None = 1000,
        temperature: float | None = None,
        seed: int | None = None,
        detail: Literal["auto", "low", "high"] = "auto",
        image_side: int = 1024,
        timeout: float = 60.0,
        retries: int = 2,
        concurrency: int = 4,
    ) -> None:
        from openai import OpenAI

        base_url = os.environ.get("OPENAI_BASE_URL")
        key = os.environ.get("OPENAI_API_KEY")
        if not key and not base_url:
            raise BackendError(
                "No LMM can be asked: OPENAI_API_KEY is not set. Export a key, or set OPENAI_BASE_URL to a server of your own."
            )
        self._client = OpenAI(api_key=key or "none", timeout=timeout, max_retries=retries)
        self._model = model
        self._timeout = timeout
        self._detail = detail
        self._side = image_side
        self._window = max(1, concurrency)
        options: dict[str, Any] = {"max_completion_tokens": max_tokens, "temperature": temperature, "seed": seed}
        self._options: dict[str, Any] = {name: value for name, value in options.items() if value is not None}

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """One reply for each prompt, in order, with `concurrency` requests in flight.

        Raises BackendError for what no prompt can survive: a bad key, an unknown model, no credit left.
        """
        upcoming = iter(prompts)
        flying: deque[Future[Reply]] = deque()
        with ThreadPoolExecutor(self._window, thread_name_prefix="lmm") as pool:
            try:
                while True:
                    flying.extend(pool.submit(self._one, prompt) for prompt in islice(upcoming, self._window - len(flying)))
                    if not flying:
                        return
                    yield flying.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _one(self, prompt: Prompt) -> Reply:
        import openai

        try:
            picture = base64.b64encode(prompt.photo.jpeg(self._side)).decode()
            url = {"url": f"data:image/jpeg;base64,{picture}", "detail": self._detail}
            content: Any = [{"type": "text", "text": prompt.text}, {"type": "image_url", "image_url": url}]
            answer = self._client.chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": content}],
                **self._options,
            )
            return self._read(answer)
        except UnreadablePhoto as error:
            return self._failed(f"the photo cannot be sent: {error}")
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            raise BackendError(
                f"{self._where()} refuses to work: {_reason(error)} Check the key, the model and the address."
            ) from error
        except openai.RateLimitError as error:
            if error.code == "insufficient_quota":
                raise BackendError(
                    f"{self._where()} says that no credit is left: {_reason(error)} Top up, or use another LMM."
                ) from error
            return self._failed(f"too many requests, even after waiting: {_reason(error)}")
        except openai.BadRequestError as error:
            filtered = error.code in ("content_filter", "content_policy_violation")
            return self._reply("", "refused" if filtered else "failed", _reason(error))
        except openai.APITimeoutError:
            return self._failed(f"no answer within {self._timeout:g} s")
        except openai.APIConnectionError as error:
            return self._failed(f"no connection to {self._client.base_url}: {error.__cause__ or error}")
        except (openai.APIError, ValueError, TypeError, AttributeError, LookupError) as error:
            return self._failed(f"the server's reply makes no sense: {_reason(error)}")

    def _read(self, answer: Any) -> Reply:
        """A completion → a reply; servers are many, so no field is trusted to be there."""
        if isinstance(answer, str) or not getattr(answer, "choices", None):
            return self._failed(f"the server's reply has no choices in it: {str(answer)[:200]}")
        choice, used = answer.choices[0], getattr(answer, "usage", None)
        usage = Usage(used.prompt_tokens or 0, used.completion_tokens or 0) if used else None
        text = choice.message.content or ""
        refusal = getattr(choice.message, "refusal", None)
        if refusal:
            return self._reply(text, "refused", refusal, usage)
        if choice.finish_reason == "content_filter":
            return self._reply(text, "refused", "stopped by the server's content filter", usage)
        if choice.finish_reason == "length":
            detail = f"cut off at {self._options.get('max_completion_tokens', 'the limit of')} tokens; raise max_tokens"
            return self._reply(text, "truncated", detail, usage)
        if not text.strip():
            return self._reply("", "failed", "the reply is empty", usage)
        return self._reply(text, "answered", "", usage)

    def _reply(self, text: str, status: ReplyStatus, detail: str, usage: Usage | None = None) -> Reply:
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
