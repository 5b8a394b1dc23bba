"""A prompt's template and a photograph's neighbours → the Prompt that goes to an LMM."""

import string
import tomllib
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Self

from img2loc.core import paths
from img2loc.core.errors import PromptError, UnknownName
from img2loc.core.places import place_at
from img2loc.core.types import Answer, Neighbour, Neighbours, Photo, Prompt

VARIABLES = ("nearest", "farthest", "nearest_places", "farthest_places", "entries", "answer")
"""The neighbours' coordinates, alone or with the nearest town beside them; what they are of; what
to answer with."""
_NO_SIDES = {"entries", "answer"}
CHARACTERS_A_TOKEN = 2.5
"""Words have about four, coordinates about two."""
_LONGEST_REPLY = 4000
"""Characters of a reply that a repair turn quotes: its end, where answers stand."""
_FENCE = "+++"
_POINT = "({lat:z.4f}, {lon:z.4f})"  # Four decimals, about 11 m; z: never -0.0000.
_HEADER = ("point", "join")


class Template:
    """The words of a prompt, with `$nearest` and `$farthest` where the coordinates go.

    `source` is all of its file: the words, `text`, may have a header of TOML before them, between
    two lines of +++, which says how a list is written. `point` is one neighbour in the notation of
    str.format, with {lat} and {lon} in decimal degrees; `join` is what stands between two. Raises
    PromptError for other variables and keys.
    """

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source.strip()
        header, self.text = _split(name, self.source)
        self._point, self._join = header.get("point", _POINT), header.get("join")
        template = string.Template(self.text)
        if not template.is_valid():
            raise PromptError(
                f"The prompt {name!r} has a dollar sign that names no variable. Write $$ for the"
                " sign itself."
            )
        self.variables = frozenset(template.get_identifiers())
        unknown = sorted(self.variables - set(VARIABLES))
        if unknown:
            raise PromptError(
                f"The prompt {name!r} names ${unknown[0]}. Known:"
                f" {', '.join(f'${v}' for v in VARIABLES)}."
            )
        self._template = template

    @classmethod
    def load(cls, name: str) -> Self:
        """The prompt of that name in prompts/, or in the text file at that path.

        Raises UnknownName.
        """
        path = Path(name)
        if path.suffix != ".txt":
            path = paths.folder("prompts") / f"{name}.txt"
        try:
            return cls(name, path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UnknownName("prompt", name, known()) from error
        except (OSError, UnicodeDecodeError) as error:
            raise PromptError(
                f"The prompt {path} cannot be read ({error}). Save it as UTF-8 text."
            ) from error

    @property
    def sides(self) -> set[str]:
        """Which neighbours it shows: "nearest", "farthest", both or neither."""
        return {name.removesuffix("_places") for name in self.variables - _NO_SIDES}

    def require(self, given: Collection[str]) -> None:
        """Raise PromptError unless the template shows exactly what is `given`, as in `sides`."""
        if missing := sorted(self.sides - set(given)):
            raise PromptError(
                f"The prompt {self.name!r} names ${missing[0]}, which this locator does not search"
                f" for. Choose another prompt, or set {missing[0]} above 0."
            )
        if unused := sorted(set(given) - self.sides):
            raise PromptError(
                f"The prompt {self.name!r} does not name ${unused[0]}, which this locator searches"
                f" for. Choose another prompt, or set {unused[0]} = 0."
            )

    def require_answer(self, answer: Answer) -> None:
        """Raise PromptError for another answer than coordinates where it does not name $answer."""
        if answer != "coordinates" and "answer" not in self.variables:
            raise PromptError(
                f"The prompt {self.name!r} does not name $answer, so it cannot ask for a {answer}."
                " Choose another prompt, or leave `answer` out."
            )

    def fill(
        self,
        photo: Photo,
        neighbours: Neighbours,
        of: str = "photos",
        answer: Answer = "coordinates",
    ) -> Prompt:
        """The prompt for a photograph; each list best first.

        Without a header, `(48.8584, 2.2945), (…)`, or `(48.8584, 2.2945) Paris, France; (…)`. `of`
        is what the neighbours' gallery was made from: $entries are photographs, or places.
        """
        sides = {"nearest": neighbours.nearest, "farthest": neighbours.farthest}
        words = {
            name: self._list(sides[name.removesuffix("_places")], name.endswith("_places"))
            for name in self.variables - _NO_SIDES
        }
        words["entries"] = "photographs" if of == "photos" else "places"
        words["answer"] = part(answer)
        return Prompt(self._template.substitute(words), photo, answer=answer)

    def _list(self, neighbours: Sequence[Neighbour], places: bool) -> str:
        join = ("; " if places else ", ") if self._join is None else self._join
        entries = (
            self._point.format(lat=near.location.lat, lon=near.location.lon)
            + (_town(near) if places else "")
            for near in neighbours
        )
        return join.join(entries) or "none"


def repair_prompt(prompt: Prompt, reply: str) -> Prompt:
    """What answers a reply without a place: the same question, the reply, and the form again."""
    text = string.Template(part("repair")).substitute(
        question=prompt.text, reply=reply.strip()[-_LONGEST_REPLY:], answer=part(prompt.answer)
    )
    return replace(prompt, text=text)


def with_shown(prompt: Prompt, neighbours: Sequence[Neighbour]) -> Prompt:
    """The prompt after a line that says where the photographs beside the first were taken."""
    points = (_POINT.format(lat=near.location.lat, lon=near.location.lon) for near in neighbours)
    shown = string.Template(part("shown")).substitute(shown=", ".join(points))
    return replace(prompt, text=f"{shown}\n\n{prompt.text}")


@cache
def part(name: str) -> str:
    """A text that goes into prompts, from prompts/parts."""
    return (paths.folder("prompts") / "parts" / f"{name}.txt").read_text(encoding="utf-8").strip()


def _split(name: str, source: str) -> tuple[dict[str, str], str]:
    """The checked header of a prompt's file, and its words."""
    if not source.startswith(f"{_FENCE}\n"):
        return {}, source
    head, fence, words = source.removeprefix(_FENCE).partition(f"\n{_FENCE}\n")
    try:
        if not fence:
            raise ValueError(f"no second line of {_FENCE}")
        header = tomllib.loads(head)
        for key, value in header.items():
            if key not in _HEADER or not isinstance(value, str):
                raise ValueError(f"{key} = {value!r}; known, each a text: {', '.join(_HEADER)}")
        _check_point(header.get("point", _POINT))
    except ValueError as error:
        raise PromptError(
            f"The header of the prompt {name!r} cannot be used ({error}). Write, between two lines"
            f' of {_FENCE}, such as: point = "({{lat:.4f}}, {{lon:.4f}})" and join = ", ".'
        ) from error
    return header, words.strip()


def _check_point(point: str) -> None:
    """Raise ValueError unless it names {lat} and {lon} and nothing else, and can be filled."""
    names = {field for _, field, _, _ in string.Formatter().parse(point) if field is not None}
    if names != {"lat", "lon"}:
        raise ValueError(f"point = {point!r} must name {{lat}} and {{lon}}, and nothing else")
    point.format(lat=0.0, lon=0.0)


def _town(near: Neighbour) -> str:
    place = place_at(near.location)
    return f" {place.name}, {place.country}" if place else ""


def known() -> list[str]:
    """The names of the prompts that ship."""
    return sorted(path.stem for path in paths.folder("prompts").glob("*.txt"))
