"""Checkpoints written in the background: copied at once, written by a thread while training continues."""

from __future__ import annotations

import copy
import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from multigen.training import checkpoint as checkpoints
from multigen.training.checkpoint import Checkpoint

log = logging.getLogger(__name__)


class Writer:
    """Writes checkpoints into a folder, one at a time.

    `save` returns as soon as the state is copied to CPU memory; later changes of the tensors are not in the checkpoint.
    An error of the thread is raised by the next `check`, `save` or `wait`. A `with` block ends when everything is
    written.

    keep, every   as in `checkpoint.save`
    """

    def __init__(self, folder: Path, *, keep: int, every: int = 0) -> None:
        self.folder, self.keep, self.every = folder, keep, every
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint of the present state, after the previous one is written."""
        self.wait()
        tensors = {
            file: {name: t.detach().to("cpu", copy=True) for name, t in named.items()}
            for file, named in checkpoint.tensors.items()
        }
        now = Checkpoint(tensors, copy.deepcopy(dict(checkpoint.state)))
        # Not a daemon: Python finishes writing before it exits.
        self._thread = threading.Thread(target=self._write, args=(step, now), name="multigen-writer")
        self._thread.start()

    def _write(self, step: int, checkpoint: Checkpoint) -> None:
        try:
            checkpoints.save(self.folder, step, checkpoint, keep=self.keep, every=self.every)
        except BaseException as fault:
            self._fault = fault

    def check(self) -> None:
        """Raise the error of a thread that has ended. Does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Wait until everything is on disk. Raises the error of the thread."""
        self._join()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def newest(self) -> Path | None:
        """Return the newest valid checkpoint, after the one in progress is written."""
        self._join()
        return checkpoints.newest(self.folder)

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.wait()
            return
        self._join()
        if self._fault is not None:
            log.error("%s", self._fault)
