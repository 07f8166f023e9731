"""Checkpoints written beside the training: copied at once, written by a thread while the next steps are made."""

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

    `save` returns as soon as the state is copied to the CPU's memory: what happens to the tensors then is not in the
    checkpoint. A fault of the writing is raised by the next `check`, `save` or `wait`. A block (`with writer:`) ends
    when all is written.
    """

    def __init__(self, folder: Path, *, keep: int, every: int = 0) -> None:
        self.folder, self.keep, self.every = folder, keep, every
        self._thread: threading.Thread | None = None
        self._fault: BaseException | None = None

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint of the state as it is now; waits for the one before."""
        self.wait()
        tensors = {
            file: {name: t.detach().to("cpu", copy=True) for name, t in named.items()}
            for file, named in checkpoint.tensors.items()
        }
        now = Checkpoint(tensors, copy.deepcopy(dict(checkpoint.state)))
        # Not a daemon: whatever ends the program, what is being written is finished first.
        self._thread = threading.Thread(target=self._write, args=(step, now), name="multigen-writer")
        self._thread.start()

    def _write(self, step: int, checkpoint: Checkpoint) -> None:
        try:
            checkpoints.save(self.folder, step, checkpoint, keep=self.keep, every=self.every)
        except BaseException as fault:
            self._fault = fault

    def check(self) -> None:
        """Raise the fault of a writing that has ended; does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Return when all is on the disk; raises the writing's fault."""
        self._join()
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def newest(self) -> Path | None:
        """The newest checkpoint that verifies, with the one that is being written, if that comes to a good end."""
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
