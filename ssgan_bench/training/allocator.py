"""How the C library hands out memory, for programs that free and take the same large tensors at every step."""

import ctypes
import functools
import os
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of the options in glibc's malloc.h."""
NEVER = -1
STATM = Path("/proc/self/statm")
LIBRARIES = 400 * 2**20
"""Bytes of PyTorch's code and the like, beside the heap."""
MOST_FREE = 600 * 2**20
"""Bytes that a process may keep free."""


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones, instead of returning it to the system.

    glibc maps every tensor of more than 32 MiB anew and gives the end of its heap back, so that each step of the
    article's networks takes pages from the system that it filled with zeros before: 26,000 page faults and a sixth of
    a bfloat16 step at batch 64 (LOG.md). What the process holds stays at its peak, or where `return_surplus` puts it.

    Returns:
        whether the C library could be told; one other than glibc is left as it is, and an allocator that was loaded
        before it does not care.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows, which has no handle of the program itself
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))


def return_surplus(most_free: int = MOST_FREE) -> bool:
    """Give the system back what this process keeps free if that is more than `most_free` bytes.

    Kept memory has holes that fit no later tensor, so it grows for a while, by how much is luck (LOG.md). Where it
    cannot be told how much that is, without glibc 2.33 or Linux, nothing happens.

    Returns:
        whether it was more.
    """
    if (glibc := _glibc()) is None:
        return False
    heap = glibc.mallinfo2()
    if heap.free <= most_free:  # the usual case; reading /proc takes 60 microseconds
        return False
    resident = int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if resident - LIBRARIES - heap.in_use <= most_free:  # the system has the rest of the free memory already
        return False
    glibc.malloc_trim(ctypes.c_size_t(0))
    return True


class _Heap(ctypes.Structure):
    """glibc's struct mallinfo2; the last three of its numbers are, in bytes, uordblks, fordblks and keepcost."""

    in_use: int
    free: int
    _fields_ = [
        ("_first", ctypes.c_size_t * 7),
        ("in_use", ctypes.c_size_t),
        ("free", ctypes.c_size_t),
        ("_last", ctypes.c_size_t),
    ]


@functools.cache
def _glibc() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Heap
    except (AttributeError, OSError, TypeError):
        return None
    return library if STATM.exists() else None
