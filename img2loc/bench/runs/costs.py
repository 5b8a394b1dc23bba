"""A plan → what a photograph will cost: tokens by a rule of thumb, times the price."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add
from pathlib import Path
from typing import Self

from img2loc.config.plan import Plan, PlannedLmm
from img2loc.core.types import Location, Neighbour, Neighbours, Photo
from img2loc.lmm.prompts import CHARACTERS_A_TOKEN, Template

PHOTO_TOKENS = {"low": 85}
PHOTO_TOKENS_DEFAULT = 765
"""What OpenAI counts for a photograph of 1024 × 768 pixels in high detail; 85 in low."""
REPLY_TOKENS = 40
_TURN = 1280
"""Characters that a turn of an agent adds to those after it: half of what a result may have."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens for one photograph or for several, and their price in US dollars where it is known."""

    input_tokens: int
    output_tokens: int
    cost_usd: float | None

    def __mul__(self, photos: int) -> Self:
        """For so many times as many photographs."""
        cost = None if self.cost_usd is None else self.cost_usd * photos
        return type(self)(self.input_tokens * photos, self.output_tokens * photos, cost)

    def __add__(self, other: Self) -> Self:
        """Both together; at no known price where either has none."""
        unknown = self.cost_usd is None or other.cost_usd is None
        cost = None if unknown else (self.cost_usd or 0.0) + (other.cost_usd or 0.0)
        tokens = (
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )
        return type(self)(*tokens, cost)


def estimate(plan: Plan) -> Estimate:
    """A rule of thumb for one photograph, good to a factor of two; of all LMMs together."""
    return reduce(add, (_estimate(plan, lmm) for lmm in plan.lmms or (None,)))


def _estimate(plan: Plan, lmm: PlannedLmm | None) -> Estimate:
    lengths = [len(text) for text in _texts(plan)]
    detail = str(lmm.settings.get("detail")) if lmm else ""
    photo = PHOTO_TOKENS.get(detail, PHOTO_TOKENS_DEFAULT)
    given = round(sum(lengths) / CHARACTERS_A_TOKEN) + photo * (1 + plan.shows) * len(lengths)
    back = REPLY_TOKENS * len(lengths)
    if lmm is not None and not lmm.is_paid:
        return Estimate(given, back, 0.0)
    price = lmm.price if lmm else {}
    if "input" not in price or "output" not in price:
        return Estimate(given, back, None)
    return Estimate(given, back, (given * price["input"] + back * price["output"]) / 1e6)


def _texts(plan: Plan) -> Iterator[str]:
    """The prompts that one photograph leads to, with a made-up place for each neighbour."""
    settings = plan.settings
    prompt, zeroshot = plan.prompts.get("prompt"), plan.prompts.get("zeroshot_prompt")
    if isinstance(counts := settings.get("counts"), list | tuple):
        for count in counts:
            if (template := prompt if count else zeroshot) is not None:
                text = _filled(template, int(count), int(count))
                yield from [text] * int(settings.get("samples", 1))
    elif (turns := settings.get("turns")) is not None and prompt is not None:
        text = _filled(prompt, int(settings.get("nearest", 0)), int(settings.get("farthest", 0)))
        yield from [text + "." * _TURN * number for number in range(int(turns))]
    elif prompt is not None:
        yield _filled(prompt, int(settings.get("nearest", 0)), int(settings.get("farthest", 0)))


def _filled(template: Template, nearest: int, farthest: int) -> str:
    somewhere = Neighbour(Location(-33.8568, 151.2153), 0.5, "")
    neighbours = Neighbours((somewhere,) * nearest, (somewhere,) * farthest)
    return template.fill(Photo(Path()), neighbours).text
