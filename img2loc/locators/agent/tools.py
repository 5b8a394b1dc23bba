"""A tool: what an LMM may call while it decides about one photograph."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError

from img2loc.core.types import Location, Photo
from img2loc.lmm.prompts import CHARACTERS_A_TOKEN


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool found: text, perhaps a picture, and the places in it."""

    text: str
    picture: Photo | None = None
    points: tuple[Location, ...] = ()


class Arguments(BaseModel):
    """The arguments of a tool: a subclass names them, with types, limits and descriptions."""

    model_config = ConfigDict(extra="forbid", strict=False, allow_inf_nan=False)


class Tool(Protocol):
    """Anything with these is a tool. `run` may raise: the LMM is told, and goes on."""

    @property
    def name(self) -> str:
        """What the LMM calls it by."""

    @property
    def description(self) -> str:
        """When to call it."""

    @property
    def arguments(self) -> type[BaseModel]:
        """A subclass of Arguments, or of pydantic's BaseModel."""

    @property
    def searches(self) -> bool:
        """Whether a call counts as a search."""

    def run(self, photo: Photo, arguments: Any) -> ToolResult:
        """What a call with checked arguments finds about a photograph."""


def described(tools: Sequence[Tool]) -> str:
    """The tools as an LMM reads them: a line each, with the JSON schema of its arguments."""
    return "\n".join(
        f"- {tool.name}: {tool.description} Arguments: {json.dumps(schema(tool))}" for tool in tools
    )


def schema(tool: Tool) -> dict[str, Any]:
    """The JSON schema of a tool's arguments, without what only repeats their names."""
    return dict(_short(tool.arguments.model_json_schema()))


def _short(part: Any) -> Any:
    if isinstance(part, Mapping):
        return {
            key: _short(value)
            for key, value in part.items()
            if key not in ("title", "default", "additionalProperties")
            and not (key == "description" and "properties" in part)
        }
    return [_short(one) for one in part] if isinstance(part, list) else part


def call(
    tool: Tool, photo: Photo, given: Mapping[str, Any], most_tokens: int
) -> tuple[ToolResult, dict[str, Any] | None]:
    """A call's result, cut to so many tokens, and its arguments; None where they do not fit."""
    try:
        arguments = tool.arguments.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "arguments"
        return ToolResult(f"{tool.name} was not called: {where}: {first['msg']}."), None
    checked = arguments.model_dump(mode="json", exclude_none=True)
    try:
        result = tool.run(photo, arguments)
    except Exception as error:  # A tool may be anybody's.
        reason = str(error).strip().splitlines() or [type(error).__name__]
        return ToolResult(f"{tool.name} failed: {reason[0][:200]}"), checked
    most = int(most_tokens * CHARACTERS_A_TOKEN)
    text = result.text if len(result.text) <= most else f"{result.text[:most]} …"
    return ToolResult(text, result.picture, result.points), checked
