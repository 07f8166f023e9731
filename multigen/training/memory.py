"""Out-of-memory errors as messages that say what to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from multigen.errors import TrainingError
from multigen.recipe.schema import Train


@contextmanager
def memory(settings: Train, newest: Callable[[], Path | None]) -> Iterator[None]:
    """Turn running out of memory inside the block into a TrainingError that names the settings to change.

    newest   returns the newest valid checkpoint
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out(error):
            raise
        last = newest()
        kept = f"The last good checkpoint is {last}." if last else "There is no checkpoint yet."
        raise TrainingError(
            f"out of memory. Raise train.accumulate (now {settings.accumulate}; the result stays the same), set "
            f"backbone.checkpoint=true (slower), or lower train.batch (now {settings.batch}). {kept}"
        ) from error


def ran_out(error: BaseException) -> bool:
    """Return whether an error of Python or torch means that memory ran out."""
    # torch has no exception class for CPU memory.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
