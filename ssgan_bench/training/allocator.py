"""How the C library hands out memory, for programs that free and take the same large tensors at every step."""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Numbers of the options in glibc's malloc.h."""
NEVER = -1


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors for the next ones, instead of returning it to the system.

    glibc maps every tensor of more than 32 MiB anew and gives the end of its heap back, so that each step of the
    article's networks takes pages from the system that it filled with zeros before: 26,000 page faults and a sixth of
    a bfloat16 step at batch 64 (LOG.md). What the process holds stays at its peak.

    Returns:
        whether the C library could be told; one other than glibc is left as it is, and an allocator that was loaded
        before it does not care.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows, which has no handle of the program itself
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, NEVER))


def give_back_free_memory() -> None:
    """Give the system back all memory that this process keeps free; nothing happens without Linux and glibc."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(ctypes.c_size_t(0))
