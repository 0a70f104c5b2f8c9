"""Freed memory stays with the process, for all contestants alike.

glibc gives large freed blocks back to the system, and every page that is asked for again costs a page fault: more than
a microsecond each on a virtual machine, so that a function which returns 16 MB spends 5 ms on them, twice what it
computes. Whether that happens depends on sizes and on what ran before; it is nobody's merit, so nobody pays for it.
"""

from __future__ import annotations

import ctypes

__all__ = ["keep_memory"]

# malloc.h: which setting, and to what. As much as an int holds is never reached.
TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD, ARENA_MAX = -1, -2, -3, -8
SETTINGS = {MMAP_THRESHOLD: 2**30, TRIM_THRESHOLD: 2**31 - 1, TOP_PAD: 2**28, ARENA_MAX: 1}


def keep_memory() -> bool:
    """Tells the C library; False where it is another one than glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # All are told, whatever one answers.
    told = [mallopt(setting, value) == 1 for setting, value in SETTINGS.items()]
    return all(told)
