"""The size of the batch that `train.batch=auto` stands for: the smallest that is nearly as fast an item as any.

Sizes double from 4. Each is timed on forward and backward passes, which change no weight. The search ends where an
item takes no less time than in the batch before, where twice the memory would not be there, or at all training items.
The run folder's recipe keeps what was found, so a training that goes on has the same batch.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import torch

from multigen.datasets import Dataset
from multigen.errors import TrainingError
from multigen.training import ranks
from multigen.training.batch import Order
from multigen.training.loader import one_batch
from multigen.training.memory import ran_out
from multigen.training.sizes import Sizes
from multigen.training.task import Task

log = logging.getLogger(__name__)

LEAST, MOST = 4, 1024
NEAR = 0.95  # share of the best speed that is enough
ROOM = 0.7  # share of the memory that a batch may take
_TIMES = 3  # passes of each size; the fastest counts
_STATES = 3  # tensors beside each parameter that the training will hold: two of the optimizer, a gradient
_BUDGET = 120.0  # s; a size is not tried when those before took as long


def find_batch(
    task: Task, dataset: Dataset, seed: int, device: torch.device, sizes: Sizes | None = None
) -> int:
    """The size of the global batch for a task on this machine; with several ranks what the slowest of them takes.

    sizes   what the training crops its media to

    TrainingError where not even one sample fits.
    """
    train, _ = dataset.split()
    measure = _Passes(task, dataset, seed, device, sizes)
    task.mode(training=True)
    with task.training():
        found = search(measure, most=min(MOST, max(len(train) // ranks.world(), 1)))
    task.mode(training=False)
    task.details()  # of a training that has not begun
    size = -int(ranks.largest(-found)[0]) * ranks.world()
    if size == 0:  # in any rank, and so in all
        raise TrainingError(
            "train.batch=auto: not even a batch of 1 fits into the memory that is free. Make the network or the media "
            "smaller, set backbone.checkpoint=true (slower), or free memory."
        )
    if ranks.first():
        log.info("train.batch=auto: %d samples a step; the run folder's recipe keeps it", size)
    return size


def search(measure: Callable[[int], float | None], *, most: int) -> int:
    """The smallest size of which `measure`, items a second or None for what does not fit, is nearly the best.

    Where `LEAST` does not fit, the largest below it that does; 0 if none does.
    """
    speeds: dict[int, float] = {}
    began = time.monotonic()
    for size in _sizes(most):
        speed = measure(size)
        if speed is None:
            if not speeds:
                return _below(measure, size)
            break
        speeds[size] = speed
        log.info("train.batch=auto: %d samples: %.1f items/s", size, speed)
        slower = [k for k, v in speeds.items() if k < size and v >= speed * NEAR]
        if len(slower) > 1 or time.monotonic() - began > _BUDGET:
            break
    best = max(speeds.values())
    return next(size for size, speed in speeds.items() if speed >= NEAR * best)


def _below(measure: Callable[[int], float | None], size: int) -> int:
    """The largest half, quarter, ... of a size that fits; 0 if not even 1 does."""
    while size := size // 2:
        if measure(size) is not None:
            return size
    return 0


def _sizes(most: int) -> Iterator[int]:
    size = min(LEAST, most)
    while size <= most:
        yield size
        size *= 2


class _Passes:
    """Times forward and backward passes of a task; a batch that would take too much memory is not tried."""

    def __init__(
        self, task: Task, dataset: Dataset, seed: int, device: torch.device, sizes: Sizes | None = None
    ) -> None:
        self.task, self.dataset, self.seed, self.device, self.sizes = task, dataset, seed, device, sizes
        self.parameters = [p for net in task.networks.values() for p in net.parameters() if p.requires_grad]
        self.states = _STATES * sum(p.numel() * p.element_size() for p in self.parameters)
        self.held = _held(device)  # bytes before the first size
        self.used = 0.0  # bytes that the largest size so far took beyond them

    def __call__(self, size: int) -> float | None:
        """Items a second with batches of `size`; None where there is not the memory."""
        room = _available(self.device)
        if room is not None and 2 * self.used + self.states > ROOM * room:
            return None
        try:
            seconds = min(self._seconds(size) for _ in range(_TIMES))
        except (MemoryError, RuntimeError) as error:
            if not ran_out(error):
                raise
            return None
        finally:
            for parameter in self.parameters:
                parameter.grad = None
        # Not the rise of the peak: a size would seem to take only what it takes beyond the one before.
        self.used = max(_peak(self.device) - self.held, 0.0)
        return size / seconds

    def _seconds(self, size: int) -> float:
        order = Order(self.dataset.split()[0], size, self.seed)
        batch = one_batch(self.dataset, order, 0, range(size), self.sizes)
        began = time.perf_counter()
        for _, parts in self.task.losses(batch, 0, 0.0):
            for loss in parts:
                loss.backward()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - began


def _peak(device: torch.device) -> float:
    """Most bytes that this process has held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _held(device: torch.device) -> float:
    """Bytes that this process holds now; the most so far where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, ValueError, IndexError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return float(pages * os.sysconf("SC_PAGE_SIZE"))
    return _peak(device)


def _available(device: torch.device) -> float | None:
    """Bytes that are free; None where the system does not say."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError, ValueError, IndexError):
        rows = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return 1024.0 * next(int(row.split()[1]) for row in rows if row.startswith("MemAvailable"))
    with suppress(OSError, ValueError):
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return None
