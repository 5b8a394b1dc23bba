"""File names → which photograph they mean: one Flickr photograph goes by many names."""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# "4763369508.jpg", "e1/55/4763369508.jpg", "e1_55_4763369508.jpg" (MP-16),
# "4763369508_7410c654ba_19_19355699@N00.jpg" (Im2GPS). The ten hexadecimal digits of Flickr's
# secret are asked for, because "20231015_123456.jpg" is a telephone's name.
# "Paris_00005_44406254_0054d193dc_27_98908999@N00.jpg" (Im2GPS, too).
FLICKR = (
    r"(?:^|/)(?:[0-9a-f]{2,3}_[0-9a-f]{2,3}_|[A-Za-z0-9]+_\d{5}_)?"
    r"(?P<flickr>\d{5,12})(?:_[0-9a-f]{8,10}(?:_[^/]*)?)?(?:\.[A-Za-z0-9]{2,5})?$"
)
"""Finds the Flickr id in a photograph's name; in the syntax that Python and RE2 share."""
_FLICKR = re.compile(FLICKR)
_SUFFIX = re.compile(r"(?<=[^/])\.[A-Za-z][A-Za-z0-9]{1,4}$")
_AUTHOR = re.compile(r"(?:^|_)(\d+@N\d+)(?:\.[A-Za-z0-9]{2,5})?$")


def flickr_id(name: str) -> str | None:
    """The Flickr id in a file's name, however it is written; None where there is none."""
    found = _FLICKR.search(name)
    return found["flickr"] if found else None


def plain_name(name: str) -> str:
    """A name as it is compared where it holds no Flickr id: folders and underscores alike."""
    return name.replace("/", "_")


def key(name: str) -> str:
    """What is the same for every name of one photograph."""
    return flickr_id(name) or bare_name(name)


def bare_name(name: str) -> str:
    """A plain name without its suffix."""
    return plain_name(name.removesuffix(suffix(name)))


def ending(name: str, parts: int) -> str:
    """The plain name without suffix of the last so many parts of a path."""
    return bare_name("/".join(name.split("/")[-parts:]))


def suffix(name: str) -> str:
    """A file name's suffix, with its dot; nothing where what is after the last dot is a number, as in 48.85_2.35."""
    found = _SUFFIX.search(name)
    return found[0] if found else ""


def author_in(text: str) -> str:
    """The photographer's Flickr id where a file's name ends in it, as Im2GPS's do; else nothing.

    The widespread truth file of Im2GPS has the secret and the server before it in its column of
    authors.
    """
    found = _AUTHOR.search(text)
    return found[1] if found else ""


def hashed(names: Iterable[str]) -> Hashes:
    """64 bits for each name, the same on every machine; two of ten million names share them once in 400,000 times."""
    digests = (
        blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest() for name in names
    )
    return np.fromiter((int.from_bytes(digest, "little") for digest in digests), np.uint64)


class SeenIds:
    """Which ids were there before, whether written with folders or underscores: eight bytes an id, however many there are."""

    def __init__(self) -> None:
        self._sorted: list[Hashes] = []

    def add(self, ids: Sequence[str]) -> list[bool]:
        """Remember ids; for each, whether it was there before: among earlier ones, or earlier in this call."""
        keys = hashed(map(plain_name, ids))
        first = np.zeros(len(keys), dtype=bool)
        unique, places = np.unique(keys, return_index=True)
        first[places] = True
        before = ~first
        for known in self._sorted:
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            before |= known[at] == keys
        if len(unique):
            self._sorted.append(unique)
        while len(self._sorted) > 1 and len(self._sorted[-2]) <= 2 * len(
            self._sorted[-1]
        ):  # So that there are few to search.
            self._sorted.append(np.union1d(self._sorted.pop(), self._sorted.pop()))
        return [bool(there) for there in before]
