"""The training loop, the same for every modality."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import nn

from multigen.datasets import Dataset
from multigen.errors import Interrupted, TrainingError
from multigen.modalities.media import Media
from multigen.recipe.schema import Train
from multigen.training import ranks
from multigen.training.batch import Batch, Order
from multigen.training.checkpoint import Checkpoint
from multigen.training.counters import Counters
from multigen.training.learner import Learner
from multigen.training.loader import batches
from multigen.training.log import Log
from multigen.training.memory import memory
from multigen.training.monitor import Monitor
from multigen.training.sharding import shard
from multigen.training.signals import Caught, signals
from multigen.training.sizes import Sizes
from multigen.training.state import State
from multigen.training.task import MODEL, Task
from multigen.training.unreadable import Unreadable
from multigen.training.updates import Updates
from multigen.training.writer import Writer

log = logging.getLogger(__name__)


class Trainer:
    """Trains the networks of a task.

    folder    the run folder: checkpoints, log, snapshots
    sizes     sizes of the media, for a training that draws one at each step
    preview   makes media at a step, the averaged weights in place, for the boards
    origin    recorded in the checkpoints: name of the recipe, versions
    sharded   part of the task's main network that the ranks share among them; None: each holds all of it
    """

    def __init__(
        self,
        *,
        task: Task,
        dataset: Dataset,
        settings: Train,
        seed: int,
        folder: Path,
        device: torch.device,
        sizes: Sizes | None = None,
        preview: Callable[[int], Sequence[Media]] | None = None,
        origin: Mapping[str, Any] | None = None,
        sharded: nn.Module | None = None,
        quiet: bool = False,
    ) -> None:
        self.task, self.dataset, self.settings = task, dataset, settings
        self.folder, self.sizes = folder, sizes
        train, _ = dataset.split()
        if not len(train):
            raise TrainingError("the dataset has no items to train on")
        self.order = Order(train, settings.batch_size, seed)
        self.writer = Writer(folder / "checkpoints", keep=settings.keep, every=settings.keep_every)
        ranks.share(task.networks.values())
        if sharded is not None:
            shard(sharded, device)
        self.learners = {name: Learner(name, net, settings, device) for name, net in task.networks.items()}
        self.optimizer = self.learners[MODEL].optimizer
        self.counters, self.unreadable = Counters(settings), Unreadable(dataset, settings.bad_media)
        self.state = State(
            task, self.learners, self.counters, self.unreadable,
            settings=settings, seed=seed, folder=folder, origin=origin or {},
        )  # fmt: skip
        self.parameters, self.ema, self.averages = self.state.parameters, self.state.ema, self.state.averages
        self.updates = Updates(self.state, settings, device, self.writer.newest)
        self.log = Log(folder, settings, quiet=quiet, writes=ranks.first())
        self.monitor = Monitor(self.state, settings, self.log, self.writer, save=self.save, preview=preview)
        self.parent = os.getppid()  # a rank whose launcher died gets another parent

    @property
    def step(self) -> int:
        """Steps made so far."""
        return self.counters.step

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 when it is over."""
        return self.counters.progress

    def run(self) -> None:
        """Train to the end and save on the way. Raises Interrupted after SIGINT or SIGTERM, when all is saved."""
        foreseen = self.counters.short_warmup()
        self._note(foreseen)
        with self.task.training():
            self._run()
        if foreseen is None:  # a limit of time came before the end of the warm-up
            self._note(self.counters.short_warmup())

    def save(self) -> None:
        """Take a checkpoint of the present state; the writer writes it meanwhile. Rank 0 does this for all ranks."""
        self.updates.read_verdicts(everything=True)
        self.counters.saved = self.step
        if not (ranks.first() or self.state.layout.cut_at_all):
            return
        with memory(self.settings, self.writer.newest):
            state = self.state.checkpoint()
            if ranks.first():
                self.writer.save(self.step, state)
        self.log.flush()

    def restore(self, checkpoint: Checkpoint) -> None:
        """Resume from a checkpoint. Raises MultigenError if it is of another model (`State.restore`)."""
        self.state.restore(checkpoint)

    def _note(self, text: str | None) -> None:
        if text is not None and ranks.first():
            log.warning("%s", text)

    def check_readable(self) -> None:
        """Raise TrainingError, after a save, if more items are unreadable than `train.bad_media` allows."""
        if self.unreadable.too_many:
            if self.step != self.counters.saved:
                self.save()
            raise self.unreadable.error()

    def _run(self) -> None:
        self.task.mode(training=True)
        c, rows = self.counters, ranks.rows(self.order.batch)
        read = batches(self.dataset, self.order, c.step, self.settings.workers, rows, self.sizes)
        with (
            signals() as caught, self.log.bar(c.step, c.seconds), closing(read) as source, self.writer
        ):  # fmt: skip
            if (
                c.step and c.measured < c.step
            ):  # the checkpoint was saved before the held-out loss of its step
                self.monitor.look(caught, ended=False)
            stop = self._loop(source, caught)
            if c.saved != c.step:
                self.save()
            self.writer.wait()
            ranks.together()  # a rank that ends makes its launcher end the others: first everything is written
            stop = stop or next(iter(caught), 0)
            if stop and c.progress < 1:
                raise Interrupted(stop, c.step, f"Resume with: multigen run {self.folder}")

    def _loop(self, source: Iterator[Batch], caught: Caught) -> int:
        """Train until the end or a signal. Returns the signal, or 0."""
        c, stop = self.counters, 0
        last = time.monotonic()
        while c.progress < 1 and not stop:
            batch = _next(source, caught)
            if batch is None:
                break
            waited = time.monotonic() - last
            with memory(self.settings, self.writer.newest):
                row = self._update(batch)
                self.averages.update(c.step)
            self.writer.check()
            now = time.monotonic()
            c.seconds += now - last
            stop = self._agree(batch, caught)
            if row:
                self.log.step(c.step, row, items=self.order.batch, seconds=now - last, waited=waited,
                              details=self.task.details)  # fmt: skip
            if (ranks.first() or self.state.layout.cut_at_all) and (
                self.averages.due(c.step) or c.progress >= 1
            ):
                # Before this step's checkpoint: a training resumed from that would not write the snapshot.
                self.averages.snapshot(c.step)
            if c.step % self.settings.checkpoint_every == 0:
                self.save()
            if not stop:
                self.monitor.look(caught, ended=c.progress >= 1)
            last = time.monotonic()  # saving and previews are not training time
        return stop

    def _update(self, batch: Batch) -> dict[str, float]:
        """Update all networks on a batch. Returns the log row, empty if there is nothing to log."""
        return self.updates.step(batch)

    def _agree(self, batch: Batch, caught: list[int]) -> int:
        """Share between ranks: the signal to stop for (or 0), the training time, and what could not be read."""
        orphan = ranks.world() > 1 and os.getppid() != self.parent
        mine = next(iter(caught), 0) or (signal.SIGTERM if orphan else 0)
        clock = self.counters.seconds if ranks.first() else 0.0
        stop, self.counters.seconds, bad = ranks.largest(mine, clock, len(batch.bad_items))
        if bad:
            for files, items in ranks.gathered((batch.bad, batch.bad_items)):
                if self.unreadable.note(files, items):
                    self.check_readable()
        return int(stop)


def _next(source: Iterator[Batch], caught: list[int]) -> Batch | None:
    """Return the next batch; None if a signal to all of our processes ended the readers."""
    try:
        return next(source)
    except RuntimeError:
        if caught:
            return None
        raise
