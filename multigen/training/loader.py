"""Batches without hidden state: batch `step` is a function of (seed, step) and the dataset alone.

Order is a permutation of (seed, epoch); each item's augmentation is keyed by (seed, step, position in the global
batch), the size of all by the step. An unreadable item is replaced by the next of the permutation and reported.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from multigen.core.noise import permutation, stream
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError, TrainingError
from multigen.training.sizes import Sizes

log = logging.getLogger(__name__)

# How often reader processes may end at one step.
_DEATHS = 3
_GRACE = 10.0  # s that a reader may take to die, once what it sends has ended
_LAST_READ = 30.0  # s that a thread may take for the item that it is at
# How many neighbours to try in place of an unreadable item.
_TRIES = 16


@dataclass(frozen=True)
class Batch:
    """media [B, C, *D], what the conditioner reads, ids, and what could not be read: file -> why, and which items."""

    media: Tensor
    given: dict[str, list[Any]]
    ids: list[str]
    bad: dict[str, str]
    bad_items: frozenset[int]


@dataclass(frozen=True)
class Order:
    """Which item stands at (step, position): permutations of the training indices, one an epoch."""

    indices: Sequence[int]
    batch: int
    seed: int

    def index(self, step: int, position: int, skip: int = 0) -> int:
        """Item index at a place; `skip` > 0 gives its stand-ins."""
        epoch, place = divmod(step * self.batch + position, len(self.indices))
        return self.indices[int(self._epoch(epoch)[(place + skip) % len(self.indices)])]

    def _epoch(self, epoch: int) -> Tensor:
        # One entry is enough: places rise with the step. The dataclass is frozen, so the cache is an attribute of it.
        cached: tuple[int, Tensor] | None = self.__dict__.get("_cached")
        if cached is None or cached[0] != epoch:
            cached = (epoch, permutation(len(self.indices), self.seed, "order", epoch))
            self.__dict__["_cached"] = cached
        return cached[1]


class Read(NamedTuple):
    """An item, and what was tried before it and could not be read: item index -> the MediaError's message."""

    item: Item
    bad: dict[int, str]


class _Places(torch.utils.data.Dataset[Read | TrainingError]):
    """Map-style over (step, position), so that torch's loader workers can share the reading."""

    def __init__(self, dataset: Dataset, order: Order, sizes: Sizes | None) -> None:
        self.dataset, self.order, self.sizes = dataset, order, sizes

    def __getitem__(self, place: tuple[int, int]) -> Read | TrainingError:
        step, position = place
        bad: dict[int, str] = {}
        for skip in range(min(_TRIES, len(self.order.indices))):
            index = self.order.index(step, position, skip)
            try:
                item = self.dataset.draw(index, stream(self.order.seed, "augment", step, position))
                if self.sizes is not None:
                    item["media"] = self.sizes.fit(item["media"], step, position)
                return Read(item, bad)
            except MediaError as error:
                bad[index] = str(error)
        # A value, since an exception would come out of a worker process with its traceback in its message.
        return TrainingError(
            f"{len(bad)} items in a row could not be read, the last: {list(bad.values())[-1]}"
        )


def collate(reads: Sequence[Read]) -> Batch:
    """[Item] -> batched media, and lists of what conditions them."""
    items = [read.item for read in reads]
    keys = [k for k in ("text", "label") if all(k in item for item in items)]
    bad = {index: why for read in reads for index, why in read.bad.items()}
    return Batch(
        media=torch.stack([item["media"] for item in items]),
        given={k: [item[k] for item in items] for k in keys},
        ids=[item["id"] for item in items],
        bad={why.partition(": ")[0]: why for why in bad.values()},
        bad_items=frozenset(bad),
    )


def _collate(reads: Sequence[Read | TrainingError]) -> Batch | TrainingError:
    failed = [read for read in reads if isinstance(read, TrainingError)]
    return failed[0] if failed else collate([read for read in reads if isinstance(read, Read)])


def batches(
    dataset: Dataset,
    order: Order,
    first_step: int,
    workers: int,
    rows: range | None = None,
    sizes: Sizes | None = None,
) -> Generator[Batch, None, None]:
    """Batches from `first_step` on, without end, read ahead by `workers` processes or (0) one thread.

    rows: the positions of each batch that are wanted; all of them if None. sizes: of the media; the dataset's if None.
    """
    wanted = range(order.batch) if rows is None else rows
    source = _Places(dataset, order, sizes)
    if workers > 0:
        made = _by_processes(source, wanted, first_step, workers)
    else:
        made = _ahead(_collate([source[p] for p in places]) for places in _places(wanted, first_step))
    with closing(made):
        for batch in made:
            if isinstance(batch, TrainingError):
                raise batch
            yield batch


def _places(wanted: range, first_step: int) -> Iterator[list[tuple[int, int]]]:
    """(step, position) of each item of one batch after the other."""
    for step in itertools.count(first_step):
        yield [(step, position) for position in wanted]


def _by_processes(
    source: _Places, wanted: range, first_step: int, workers: int
) -> Generator[Batch | TrainingError, None, None]:
    """Batches from worker processes. Where one dies, new ones read on from the batch that was not yet handed out.

    As a batch depends on its step alone, none is lost or comes twice. TrainingError if they die again and again.
    """
    step, deaths = first_step, 0
    while True:
        made, processes = _start(source, wanted, step, workers)
        try:
            for batch in made:
                yield batch
                step, deaths = step + 1, 0
        except (RuntimeError, OSError, EOFError) as error:
            # A batch that waits in a reader's memory may be gone before the system says that the reader is.
            if not isinstance(error, RuntimeError):
                ended = connection.wait([p.sentinel for p in processes], timeout=_GRACE)
                for process in processes:
                    if process.sentinel in ended:
                        process.join(_GRACE)  # its files close some time before the system calls it dead
            dead = [p for p in processes if not p.is_alive()]
            if not dead:
                raise
            deaths += 1
            why = _ending(dead[0].exitcode)
            if deaths > _DEATHS:
                raise TrainingError(
                    f"reader processes ended {deaths} times in a row at step {step}, the last {why}. If memory is "
                    f"short, take fewer with train.workers (now {workers}); 0 reads in the training's own process."
                ) from error
            log.warning("step %d: a reader process ended, %s; new ones read on from here", step, why)
        finally:
            # Now: an error's traceback would keep them, and at exit they would be waited for in vain.
            del made
            for process in processes:
                if process.is_alive():
                    process.kill()


def _ending(code: int | None) -> str:
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _start(
    source: _Places, wanted: range, step: int, workers: int
) -> tuple[Iterator[Batch | TrainingError], list[BaseProcess]]:
    """Batches from `step` on, and the processes that read them."""
    main = threading.current_thread() is threading.main_thread()
    before, handler = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(
        source,
        batch_sampler=_places(wanted, step),  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=_collate,
        worker_init_fn=_leave_signals_to_the_trainer,
    )
    made: Iterator[Batch | TrainingError] = iter(loader)
    if main:
        # torch raises an error of its own out of this signal, anywhere in the training: even within an update.
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return made, [p for p in multiprocessing.active_children() if p not in before]


def _leave_signals_to_the_trainer(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal, torchrun's SIGTERM every process of a rank; the readers must
    outlive the trainer's last save."""
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, signal.SIG_IGN)


def _ahead(
    batches: Iterator[Batch | TrainingError], depth: int = 2
) -> Generator[Batch | TrainingError, None, None]:
    """Compute up to `depth` batches ahead in a thread; its errors surface here, and it ends when we are closed."""
    ready: queue.Queue[Batch | BaseException] = queue.Queue(depth)
    ended = threading.Event()

    def put(value: Batch | BaseException) -> None:
        while not ended.is_set():
            try:
                ready.put(value, timeout=0.2)
                return
            except queue.Full:
                continue

    def work() -> None:
        try:
            for batch in batches:
                if ended.is_set():
                    return
                put(batch)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=work, daemon=True, name="multigen-loader")
    thread.start()
    try:
        while True:
            value = ready.get()
            if isinstance(value, BaseException):
                raise value
            yield value
    finally:
        ended.set()
        # Python's exit must not meet it inside FFmpeg, which calls back into Python to read shards: that aborts.
        thread.join(timeout=_LAST_READ)
