"""Where on Earth a photo was taken.

>>> import img2loc
>>> locator = img2loc.load("retrieval")
>>> for guess in locator.locate(["photo.jpg"]):
...     print(guess.status, guess.location, guess.radius_km)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from img2loc.config.api import build_gallery, load, load_encoder
    from img2loc.core.errors import Img2LocError
    from img2loc.core.places import place_at
    from img2loc.core.types import (
        Guess,
        Item,
        Location,
        Neighbour,
        Neighbours,
        Photo,
        Place,
        Prompt,
        Reply,
    )
    from img2loc.gallery.gallery import Gallery
    from img2loc.lmm.parse.reply import parse_location

__version__ = "0.1.0"

_MODULES = {
    "config.api": "build_gallery load load_encoder",
    "core.errors": "Img2LocError",
    "core.places": "place_at",
    "core.types": "Guess Item Location Neighbour Neighbours Photo Place Prompt Reply",
    "gallery.gallery": "Gallery",
    "lmm.parse.reply": "parse_location",
}
# What is imported when it is first used: `import img2loc` itself must cost nothing.
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "Gallery",
    "Guess",
    "Img2LocError",
    "Item",
    "Location",
    "Neighbour",
    "Neighbours",
    "Photo",
    "Place",
    "Prompt",
    "Reply",
    "build_gallery",
    "load",
    "load_encoder",
    "parse_location",
    "place_at",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"img2loc.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'img2loc' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
