"""Reading ahead: batches made by worker processes or by a thread while the training computes."""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from torch.utils.data import DataLoader, Dataset

from multigen.errors import TrainingError

log = logging.getLogger(__name__)

B = TypeVar("B")  # a batch

_DEATHS = 3  # times that reader processes may end at one step
_GRACE = 10.0  # s that a reader may take to die after its data ended
_LAST_READ = 30.0  # s that a thread may take to finish the item that it reads


def by_processes(
    source: Dataset[Any],
    places: Callable[[int], Iterator[Sequence[Any]]],
    collate: Callable[[Sequence[Any]], B],
    first_step: int,
    workers: int,
) -> Generator[B, None, None]:
    """Yield batches made by worker processes.

    places   returns the keys of each batch, from a step on
    collate  makes a batch of what `source` holds at these keys

    If a process dies, new ones resume at the batch that was not yet delivered. A batch depends on its step alone, so
    none is lost and none comes twice. Raises TrainingError if processes die again and again.
    """
    step, deaths = first_step, 0
    while True:
        made, processes = _start(source, places(step), collate, workers)
        try:
            for batch in made:
                yield batch
                step, deaths = step + 1, 0
        except (RuntimeError, OSError, EOFError) as error:
            dead = _dead(error, processes)
            if not dead:
                raise
            deaths += 1
            why = _ending(dead[0].exitcode)
            if deaths > _DEATHS:
                raise TrainingError(
                    f"reader processes ended {deaths} times in a row at step {step}, the last {why}. If memory is "
                    f"short, lower train.workers (now {workers}); with 0 the training process reads."
                ) from error
            log.warning("step %d: a reader process ended, %s; new ones resume here", step, why)
        finally:
            # Now: the traceback of an error would keep them alive, and Python would wait for them at exit.
            del made
            for process in processes:
                if process.is_alive():
                    process.kill()


def by_thread(batches: Iterator[B], depth: int = 2) -> Generator[B, None, None]:
    """Yield batches computed up to `depth` ahead in a thread. Errors of the thread are raised here."""
    ready: queue.Queue[B | BaseException] = queue.Queue(depth)
    ended = threading.Event()

    def put(value: B | BaseException) -> None:
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
        # At exit the thread must not be inside FFmpeg, which calls back into Python to read shards: that aborts.
        thread.join(timeout=_LAST_READ)


def _dead(error: BaseException, processes: Sequence[BaseProcess]) -> list[BaseProcess]:
    """The processes that died, if an error came of that."""
    # A batch in a reader's memory may be gone before the system reports that the reader is.
    if not isinstance(error, RuntimeError):
        ended = connection.wait([p.sentinel for p in processes], timeout=_GRACE)
        for process in processes:
            if process.sentinel in ended:
                process.join(_GRACE)  # its files close some time before the system calls it dead
    return [p for p in processes if not p.is_alive()]


def _ending(code: int | None) -> str:
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _start(
    source: Dataset[Any], places: Iterator[Sequence[Any]], collate: Callable[[Sequence[Any]], B], workers: int
) -> tuple[Iterator[B], list[BaseProcess]]:
    """Start worker processes. Returns their batches, and the processes."""
    main = threading.current_thread() is threading.main_thread()
    before, handler = set(multiprocessing.active_children()), signal.getsignal(signal.SIGCHLD)
    loader = DataLoader(
        source,
        batch_sampler=places,  # pyright: ignore[reportArgumentType]
        num_workers=workers,
        collate_fn=collate,
        worker_init_fn=_ignore_signals,
    )
    made: Iterator[B] = iter(loader)
    if main:
        # torch's own handler of this signal raises an error anywhere in the training, even within an update.
        signal.signal(signal.SIGCHLD, handler or signal.SIG_DFL)
    return made, [p for p in multiprocessing.active_children() if p not in before]


def _ignore_signals(worker: int) -> None:
    """Ignore SIGINT and SIGTERM, which reach every process of a terminal or rank: readers outlive the last save."""
    for s in (signal.SIGINT, signal.SIGTERM):
        signal.signal(s, signal.SIG_IGN)
