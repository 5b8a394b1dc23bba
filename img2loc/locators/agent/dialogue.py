"""One photograph's dialogue with an LMM: its turns, the tools that it calls, the budget."""

import json
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from img2loc.core.geo import distance_km
from img2loc.core.types import Guess, GuessStatus, Location, Neighbours, Photo, Prompt, Reply, Step
from img2loc.lmm.prompts import part
from img2loc.locators.agent.tools import Tool, call, described
from img2loc.locators.conversation import key_of, location_in, outcome
from img2loc.locators.spread import neighbours_spread_km

_AGREED_KM = 25.0
_LONGEST_REPLY = 2000  # Characters of a turn that are shown again.
_LONGEST_ARGUMENTS = 2000


@dataclass(frozen=True, slots=True)
class Budget:
    """The most of each, for one photograph; `result_tokens` is a rule of thumb."""

    turns: int = 6
    crops: int = 5
    searches: int = 8
    result_tokens: int = 1024


class Dialogue:
    """Begins with a prompt; every reply is a call of a tool, or the answer.

    The whole dialogue is in each prompt's text, and the parts of the photograph beside it, so that
    every LMM can follow it, and caches, prices and replays serve its turns as single prompts.
    """

    def __init__(
        self, first: Prompt, neighbours: Neighbours, tools: Sequence[Tool], budget: Budget
    ) -> None:
        self._first, self._neighbours = first, neighbours
        self._tools, self._budget = {tool.name: tool for tool in tools}, budget
        self._turns: list[tuple[Prompt, Reply]] = []
        self._lines: list[str] = []
        self._steps: list[Step] = []
        self._pictures: list[Photo] = []
        self._searches = 0
        self._nudged = False
        self._last_place: Location | None = None
        self.guess: Guess | None = None
        """Once it is over."""

    def prompt(self) -> Prompt:
        """The next turn's."""
        left = self._budget.turns - len(self._turns)
        words = {
            "question": self._first.text,
            "tools": described(list(self._tools.values())),
            "dialogue": "\n\n".join(self._lines) or "(nothing yet)",
            "now": part("agent-last" if left == 1 else "agent-next"),
        }
        text = string.Template(part("agent")).substitute(words)
        return replace(self._first, text=text, shown=tuple(self._pictures))

    def take(self, prompt: Prompt, reply: Reply) -> None:
        """Go on with a reply: call the tool that it names, or end with its answer."""
        reply = replace(reply, key=key_of(prompt))
        self._turns.append((prompt, reply))
        if reply.status in ("refused", "failed"):
            return self._end(reply, None)
        calls, rest = calls_in(reply.text)
        place = location_in(replace(reply, text=rest))
        place = None if place == Location(0, 0) else place
        last = len(self._turns) >= self._budget.turns
        agreed = (
            place is not None
            and self._last_place is not None
            and distance_km(place, self._last_place) <= _AGREED_KM
        )
        if place is not None and (not calls or last or agreed):
            return self._end(reply, place)
        if last or (not calls and self._nudged):
            return self._end(reply, self._last_place)
        self._last_place = place or self._last_place
        self._lines.append(f"Your turn {len(self._turns)}:\n{reply.text.strip()[-_LONGEST_REPLY:]}")
        if not calls:
            self._nudged = True
            self._lines.append(part("agent-nudge"))
            return None
        self._lines.append(self._called(*calls[0]))
        if len(calls) > 1:
            self._lines.append("Only the first call of a turn was made.")
        return None

    def _called(self, name: str, given: Mapping[str, Any]) -> str:
        """Make a call, note it, and return what the LMM reads of it."""
        tool, spent = self._tools.get(name), None
        if tool is None:
            known = ", ".join(self._tools)
            return self._noted(name, given, f"there is no such tool; known: {known}")
        if tool.searches and self._searches >= self._budget.searches:
            spent = f"no searches are left of {self._budget.searches}"
        elif not tool.searches and len(self._pictures) >= self._budget.crops and name == "zoom":
            spent = f"no pictures are left of {self._budget.crops}"
        if spent is not None:
            return self._noted(name, given, spent)
        result, checked = call(tool, self._first.photo, given, self._budget.result_tokens)
        self._searches += tool.searches
        text = result.text
        if result.picture is not None and len(self._pictures) < self._budget.crops:
            self._pictures.append(result.picture)
            text = f"{text} as picture {1 + len(self._pictures)}"
        return self._noted(name, given if checked is None else checked, text, result.points)

    def _noted(
        self, name: str, given: Mapping[str, Any], text: str, points: tuple[Location, ...] = ()
    ) -> str:
        shown = json.dumps(given, ensure_ascii=False, default=str)
        kept = given if len(shown) <= _LONGEST_ARGUMENTS else {"cut": shown[:_LONGEST_ARGUMENTS]}
        self._steps.append(Step(name[:100], kept, text, points))
        return f"Result of {name[:100]}:\n{text}"

    def _end(self, reply: Reply, place: Location | None) -> None:
        status, detail = outcome(reply, place)
        calls = f"{len(self._steps)} calls in {len(self._turns)} turns"
        located: GuessStatus = "located" if place is not None else status
        self.guess = Guess(
            self._first.photo,
            located,
            place,
            neighbours_spread_km(place, self._neighbours.nearest) if place else None,
            self._neighbours,
            prompts=tuple(prompt.text for prompt, _ in self._turns),
            replies=tuple(one for _, one in self._turns),
            detail=f"{detail}, after {calls}",
            steps=tuple(self._steps),
        )


def calls_in(text: str) -> tuple[list[tuple[str, dict[str, Any]]], str]:
    """The calls of tools in a turn, and its text without them.

    A call is a JSON object with "tool", a name, and perhaps "arguments", an object.
    """
    # NaN and Infinity are no JSON: as texts they fit no number.
    decoder = json.JSONDecoder(parse_constant=str)
    calls: list[tuple[str, dict[str, Any]]] = []
    rest: list[str] = []
    start = 0
    at = text.find("{")
    while at >= 0:
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        if isinstance(found, dict) and isinstance(name := found.get("tool"), str):
            arguments = found.get("arguments")
            calls.append((name, arguments if isinstance(arguments, dict) else {}))
            rest.append(text[start:at])
            start = end
        at = text.find("{", end)
    return calls, " ".join([*rest, text[start:]])
