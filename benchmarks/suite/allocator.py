"""The C library's allocator in the state in which it settles, for all contestants alike.

glibc takes large blocks from the system and gives them back, and every page that is asked for again costs a page
fault, more than a microsecond on a virtual machine: a function that returns 16 MB may spend 5 ms on them, twice what it
computes. From what size on it does so it learns as it goes, so that the first rows of a race would pay for what the
last do not. Here it begins where it ends: blocks of up to 32 MB stay with the process. Larger ones cost their faults as
they do everywhere, and whoever asks for them pays.
"""

from __future__ import annotations

import ctypes

__all__ = ["settle"]

# malloc.h; and what mallopt(3) gives as the largest threshold that is learnt, and twice of it. One arena, since threads
# of several would settle one by one.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
LARGEST = 4 * 2**20 * ctypes.sizeof(ctypes.c_long)
SETTINGS = {MMAP_THRESHOLD: LARGEST, TRIM_THRESHOLD: 2 * LARGEST, ARENA_MAX: 1}


def settle() -> bool:
    """Tells the C library; False where it is another one than glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    # All are told, whatever one answers.
    told = [mallopt(setting, value) == 1 for setting, value in SETTINGS.items()]
    return all(told)
