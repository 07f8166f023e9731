"""Out of memory, said as what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from multigen.errors import TrainingError
from multigen.recipe.schema import Train


@contextmanager
def memory(settings: Train, newest: Callable[[], Path | None]) -> Iterator[None]:
    """Memory that runs out within becomes a TrainingError that names the settings to change.

    `newest` looks for the last good checkpoint.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        last = newest()
        kept = f"The last good checkpoint is {last}." if last else "No checkpoint was made yet."
        raise TrainingError(
            f"out of memory. Make train.accumulate larger (now {settings.accumulate}; the result stays the same), set "
            f"backbone.checkpoint=true (slower), or make train.batch smaller (now {settings.batch}). {kept}"
        ) from error


def ran_out(error: BaseException) -> bool:
    """Whether this is how Python, or torch on a GPU or a CPU, says that there is no more memory."""
    # torch has no exception of its own for a CPU's memory.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
