"""The heap of the C library, set for a process of many threads that runs for months.

glibc gives almost every thread an arena of its own, up to eight a core. Each grows to the most that its threads ever
held at once, and frames and files of all sizes pass through all of them: a server's memory then creeps up for a long
time. Two arenas are full grown after minutes. Threads wait for each other hardly more than before: they allocate little
outside of Python's lock, and large pixels come from the system in any case.
"""

from __future__ import annotations

import ctypes
import os

__all__ = ["limit_arenas"]

ARENAS = 2
M_ARENA_MAX = -8  # malloc.h
VARIABLE = "MALLOC_ARENA_MAX"  # glibc's own; who sets it knows better


def limit_arenas() -> None:
    """Let the heap have few arenas; does nothing where the C library is another. For threads that start later."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and VARIABLE not in os.environ:
        mallopt(M_ARENA_MAX, ARENAS)
