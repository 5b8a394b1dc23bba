"""The JSON schema of an LMM's answer, and the cost of its tokens."""

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
    """A server's token counts with their cost; None unless both are finite numbers."""
    counts = (input_tokens, output_tokens)
    tokens = [int(n) for n in counts if isinstance(n, int | float) and math.isfinite(n)]
    if len(tokens) < 2:
        return None
    cost = None
    if "input" in price and "output" in price:
        cost = round((price["input"] * tokens[0] + price["output"] * tokens[1]) / 1e6, 9)
    return Usage(tokens[0], tokens[1], cost)
