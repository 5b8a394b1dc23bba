"""Large blocks of memory go back to the system when they are freed."""

import ctypes
from functools import cache

_M_MMAP_THRESHOLD, _LARGE = -3, 1 << 20


@cache
def return_large_blocks() -> None:
    """Have the C library map every block of 1 MB and more by itself, from now on; where it is not glibc, nothing is done.

    Left alone, glibc soon takes blocks of up to 32 MB from one heap, where a small one that stays
    keeps what was freed around it from reuse: a build of millions of rows then held several times
    the memory that it used.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
