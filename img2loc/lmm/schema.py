"""The form that an LMM is asked to answer in, and what an answer costs."""

import math
from collections.abc import Mapping
from typing import Any

from img2loc.core.types import Usage

SCHEMA: dict[str, Any] = {
    "title": "location",
    "description": "The point on Earth where the photograph was taken, in decimal degrees.",
    "type": "object",
    "properties": {"latitude": {"type": "number"}, "longitude": {"type": "number"}},
    "required": ["latitude", "longitude"],
    "additionalProperties": False,
}
"""No numeric bounds: many servers refuse them; the parser checks the range."""

RESPONSE_FORMAT: Any = {
    "type": "json_schema",
    "json_schema": {"name": "location", "strict": True, "schema": SCHEMA},
}

Price = Mapping[str, float]
"""US dollars per million tokens: {"input": …, "output": …}; empty where it is not known."""
PRICE: Price = {}


def counted(input_tokens: object, output_tokens: object, price: Price) -> Usage | None:
    """Tokens as a server reported them, with their cost;

    None where it reported none that are numbers.
    """
    tokens = [
        int(count)
        for count in (input_tokens, output_tokens)
        if isinstance(count, int | float) and math.isfinite(count)
    ]
    if len(tokens) < 2:
        return None
    known = "input" in price and "output" in price
    cost = (
        round((price["input"] * tokens[0] + price["output"] * tokens[1]) / 1e6, 9)
        if known
        else None
    )
    return Usage(tokens[0], tokens[1], cost)
