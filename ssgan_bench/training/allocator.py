"""How the C library hands out memory, for programs that free and take the same large tensors at every step."""

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of the options in glibc's malloc.h."""
NEVER = -1
STATM = Path("/proc/self/statm")
LARGE = 3 * 2**29
"""Bytes of a process that gives back what is free; the article's networks take as much at batch 128 (LOG.md)."""
GROWTH = 150 * 2**20
"""Bytes by which it has grown before it does so again: what it needs at a time is not given back at every step."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones, instead of returning it to the system.

    glibc maps every tensor of more than 32 MiB anew and gives the end of its heap back, so that each step of the
    article's networks takes pages from the system that it filled with zeros before: 26,000 page faults and a sixth of
    a bfloat16 step at batch 64 (LOG.md). What the process holds stays at its peak, but for `Surplus`.

    Returns:
        whether the C library could be told; one other than glibc is left as it is, and an allocator that was loaded
        before it does not care.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows, which has no handle of the program itself
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))


class Surplus:
    """Gives the system back the memory that this process keeps free, whenever the process has become large.

    Kept memory has holes that fit no later tensor, so it grows for a while, by how much is luck (LOG.md). How much of
    what a process holds is free cannot be asked cheaply, so it is all given back when the process has more than `large`
    bytes and `growth` more than the last time; the first time counts from nothing.
    """

    def __init__(self, large: int = LARGE, growth: int = GROWTH):
        self._large, self._growth = large, growth
        self._resident = 0

    def give_back(self) -> bool:
        """Give back what is free if the process is large and has grown, and say so; without Linux and glibc, never."""
        if (trim := _trim()) is None or _resident() <= max(self._large, self._resident + self._growth):
            return False
        trim(ctypes.c_size_t(0))
        self._resident = _resident()
        return True


def give_back_free_memory() -> None:
    """Give the system back all memory that this process keeps free; nothing happens without Linux and glibc."""
    if (trim := _trim()) is not None:
        trim(ctypes.c_size_t(0))


surplus_of_this_process = Surplus()
"""One for all runs: a run that begins with the free memory of the one before would otherwise take it for its own."""


def _resident() -> int:
    return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@functools.cache
def _trim() -> Callable[[ctypes.c_size_t], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim if STATM.exists() else None
    except (AttributeError, OSError, TypeError):
        return None
