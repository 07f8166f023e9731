"""What the C library keeps of freed memory, and giving it back."""

from __future__ import annotations

import contextlib
import ctypes

_ARENAS = -8  # M_ARENA_MAX of glibc's mallopt


def share_memory() -> None:
    """Let the threads share what is free: glibc keeps it for each apart otherwise, and the process grows with them."""
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_ARENAS, 2)


def give_back() -> None:
    """Give free memory back to the system: between blocks that are in use, glibc keeps it. Takes some milliseconds."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
