"""Replies of a recorded run, so that an experiment can be repeated without a model."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from img2loc.core.errors import ConfigError, UnreadablePhoto
from img2loc.core.guess_json import reply_from
from img2loc.core.types import Prompt, Reply


class Replay:
    """Answers prompts from `run`, a file of `img2loc ask --json`, one object a line.

    A reply is found by the photograph's bytes and the prompt's words together, and comes as it was
    recorded, with what it cost then; what was not recorded is "failed". Raises ConfigError for a
    file of another kind.
    """

    def __init__(self, run: str) -> None:
        self._replies: dict[str, Reply] = {}
        try:
            lines = Path(run).read_text(encoding="utf-8").rstrip("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"The recorded run {run} cannot be read ({error}). Record one: img2loc ask … --json"
                f" > {run}"
            ) from error
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                for reply in json.loads(line)["replies"]:
                    self._replies[reply["key"]] = reply_from(reply)
            except (ValueError, KeyError, TypeError) as error:
                if number == len(lines):
                    break  # The last line of a run that was killed may be torn.
                raise ConfigError(
                    f"{run}, line {number} is not a record of `img2loc ask --json`. Record the run"
                    " again."
                ) from error

    cacheable = False
    several_photos = True

    @classmethod
    def endpoint(cls, **_: object) -> None:
        """Nowhere."""

    def ask(self, prompts: Iterable[Prompt]) -> Iterator[Reply]:
        """The recorded reply to each prompt."""
        for prompt in prompts:
            try:
                recorded = self._replies.get(prompt.key())
            except UnreadablePhoto as error:
                yield Reply("", "replay", "failed", detail=f"the photo cannot be read: {error}")
                continue
            yield recorded or Reply(
                "", "replay", "failed", detail="no reply to this photo and prompt was recorded"
            )
