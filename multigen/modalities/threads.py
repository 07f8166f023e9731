"""Threads of a decoder."""

from __future__ import annotations

from contextvars import ContextVar

# Set in processes whose own computations use another number of threads; see `guard_process`.
DECODERS: ContextVar[int] = ContextVar("DECODERS", default=0)


def decoding_threads() -> int:
    """How many threads decode one file: as many as torch computes with, so one in each of several readers."""
    import torch  # takes a second, and a header needs no threads

    return DECODERS.get() or torch.get_num_threads()
