"""Memory of large blocks is returned to the system when they are freed."""

import ctypes
from functools import cache

_M_MMAP_THRESHOLD, _LARGE = -3, 1 << 20


@cache
def return_large_blocks() -> None:
    """Have glibc map every block of 1 MB or more by itself; does nothing with another C library.

    By default it soon takes blocks of up to 32 MB from the heap, where small blocks in use keep
    freed ones from being returned: a build of millions of rows held several times what it used.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGE)
