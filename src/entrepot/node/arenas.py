"""How the C library keeps memory that was given back.

glibc gives each thread an arena of its own, up to eight a core, and keeps in it what the thread frees. A node has
dozens of threads that each hold a mebibyte of somebody's upload now and then: idle, they would keep a hundred.
"""

import ctypes

_M_ARENA_MAX = -8  # malloc.h
ARENAS_MAX = 2


def bound_arenas() -> bool:
    """Let all threads share :data:`ARENAS_MAX` arenas; whether the C library knows how (musl does not, nor need it).

    Call it before the first thread starts: an arena that exists stays (mallopt(3)).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_ARENA_MAX, ARENAS_MAX))
