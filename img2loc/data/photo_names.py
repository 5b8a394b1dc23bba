"""File names → keys under which the many names of one Flickr photograph are the same."""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

# "4763369508.jpg", "e1/55/4763369508.jpg", "e1_55_4763369508.jpg" (MP-16),
# "4763369508_7410c654ba_19_19355699@N00.jpg", "Paris_00005_44406254_0054d193dc_27_98908999@N00.jpg"
# (Im2GPS). Flickr's secret of ten hexadecimal digits is required, because "20231015_123456.jpg" is
# a telephone's name.
FLICKR = (
    r"(?:^|/)(?:[0-9a-f]{2,3}_[0-9a-f]{2,3}_|[A-Za-z0-9]+_\d{5}_)?"
    r"(?P<flickr>\d{5,12})(?:_[0-9a-f]{8,10}(?:_[^/]*)?)?(?:\.[A-Za-z0-9]{2,5})?$"
)
"""The Flickr id in a photograph's name, as a pattern for both Python and RE2."""
_FLICKR = re.compile(FLICKR)
_SUFFIX = re.compile(r"(?<=[^/])\.[A-Za-z][A-Za-z0-9]{1,4}$")
_AUTHOR = re.compile(r"(?:^|_)(\d+@N\d+)(?:\.[A-Za-z0-9]{2,5})?$")


def flickr_id(name: str) -> str | None:
    """The Flickr id in a file's name, or None."""
    match = _FLICKR.search(name)
    return match["flickr"] if match else None


def plain_name(name: str) -> str:
    """A path with underscores for its slashes, as some tables write it."""
    return name.replace("/", "_")


def key(name: str) -> str:
    """The Flickr id, else the bare name: the same for every name of one photograph."""
    return flickr_id(name) or bare_name(name)


def bare_name(name: str) -> str:
    """A plain name without its suffix."""
    return plain_name(name.removesuffix(suffix(name)))


def ending(name: str, parts: int) -> str:
    """The bare name of a path's last parts."""
    return bare_name("/".join(name.split("/")[-parts:]))


def suffix(name: str) -> str:
    """A file name's suffix with its dot; "" for none or a number, as in 48.85_2.35."""
    match = _SUFFIX.search(name)
    return match[0] if match else ""


def author_in(text: str) -> str:
    """The photographer's Flickr id at the end of a name, as in Im2GPS; "" for none.

    The common truth file of Im2GPS has secret and server before it in its column of authors.
    """
    match = _AUTHOR.search(text)
    return match[1] if match else ""


def photographer(author: str, photo: str) -> str:
    """Who took it, by its column of authors, else by its file's name; "" where neither tells."""
    return author_in(author) or author or author_in(photo)


def hashed(names: Iterable[str]) -> Hashes:
    """64 bits a name, the same on every machine; ten million names collide 1 time in 400,000."""
    texts = (name.encode("utf-8", "backslashreplace") for name in names)
    digests = (blake2b(text, digest_size=8).digest() for text in texts)
    return np.fromiter((int.from_bytes(digest, "little") for digest in digests), np.uint64)


class SeenIds:
    """The ids seen so far, "/" and "_" alike, in eight bytes an id."""

    def __init__(self) -> None:
        self._sorted: list[Hashes] = []

    def add(self, ids: Sequence[str]) -> list[bool]:
        """Add ids; for each, whether an earlier call, or this one before it, had it."""
        keys = hashed(map(plain_name, ids))
        unique, first = np.unique(keys, return_index=True)
        seen = np.ones(len(keys), dtype=bool)
        seen[first] = False
        for known in self._sorted:
            at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
            seen |= known[at] == keys
        if len(unique):
            self._sorted.append(unique)
        # Merged whenever the sizes are close, so that there are few arrays to search.
        while len(self._sorted) > 1 and len(self._sorted[-2]) <= 2 * len(self._sorted[-1]):
            self._sorted.append(np.union1d(self._sorted.pop(), self._sorted.pop()))
        return [bool(value) for value in seen]
