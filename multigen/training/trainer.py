"""The trainer: the one place that steps an optimizer, for every modality."""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from multigen.datasets import Dataset
from multigen.errors import Interrupted, MultigenError, TrainingError
from multigen.recipe.schema import Train
from multigen.storage.tensors import mismatches
from multigen.training import checkpoint as checkpoints
from multigen.training import ranks
from multigen.training.ema import EMA
from multigen.training.learner import Learner
from multigen.training.loader import Batch, Order, batches
from multigen.training.log import Log
from multigen.training.memory import memory
from multigen.training.post_hoc import Averages
from multigen.training.signals import Caught, Stop, signals
from multigen.training.sizes import Sizes
from multigen.training.task import MODEL, Task
from multigen.training.unreadable import Unreadable
from multigen.training.verdicts import LAG, Update, Verdicts
from multigen.training.writer import Writer

log = logging.getLogger(__name__)


class Trainer:
    """Trains what a task teaches.

    `folder` is the run folder; `sizes` those of the media, where steps draw them. `preview(step)` is called with the
    averaged weights in place. The state from which a
    run goes on exactly: weights, average, optimizers, step, seconds. `origin` says in the checkpoints what they are of:
    its "recipe", versions.
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
        preview: Callable[[int], None] | None = None,
        origin: Mapping[str, Any] | None = None,
        quiet: bool = False,
    ) -> None:
        self.task, self.dataset, self.settings, self.folder = task, dataset, settings, folder
        self.sizes, self.preview, self.origin = sizes, preview, dict(origin or {})
        self.writer = Writer(folder / "checkpoints", keep=settings.keep, every=settings.keep_every)
        ranks.share(task.networks.values())
        self.learners = {name: Learner(name, net, settings, device) for name, net in task.networks.items()}
        self.parameters = self.learners[MODEL].parameters
        self.optimizer = self.learners[MODEL].optimizer
        self.ema = EMA(self.parameters, settings.ema_decay)
        self.averages = Averages(self.parameters, settings.post_hoc, folder)
        self.step, self.seconds = 0, 0.0
        self.saved = 0  # the step of the newest checkpoint
        self.skipped = 0  # updates in a row
        # Several ranks tell one another their losses at each step: the host knows them.
        ahead = device.type == "cuda" and ranks.world() == 1
        self.verdicts = Verdicts(device, LAG if ahead else 0)
        self.measured = 0  # the step of the last held-out loss
        self.lowest, self.worse = math.inf, 0  # the lowest of them, and how many have come since
        self.parent = os.getppid()  # a rank whose launcher died has another
        self.unreadable = Unreadable(dataset, settings.bad_media)
        train, _ = dataset.split()
        if not len(train):
            raise TrainingError("the dataset has no items to train on")
        self.order = Order(train, settings.batch, seed)
        self.seed = seed
        self.log = Log(folder, settings, quiet=quiet, writes=ranks.first())

    # --- progress ---------------------------------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """Share of the training that is done, 1 when it is over."""
        if 0 < self.settings.patience <= self.worse:
            return 1.0
        shares = []
        if self.settings.steps is not None:
            shares.append(self.step / max(self.settings.steps, 1))
        if self.settings.minutes is not None:
            shares.append(self.seconds / (60 * self.settings.minutes))
        return min(max(shares, default=1.0), 1.0)

    def _lr(self) -> float:
        """Linear warm-up, then cosine to 0 along `progress`."""
        warm = min((self.step + 1) / max(self.settings.warmup, 1), 1.0)
        return self.settings.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))

    # --- the loop ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end, saving on the way. Interrupted on SIGINT or SIGTERM, after a save."""
        with self.task.training():
            self._run()

    def _run(self) -> None:
        self.task.mode(training=True)
        stop = 0
        rows, workers = ranks.rows(self.order.batch), self.settings.workers
        read = batches(self.dataset, self.order, self.step, workers, rows, self.sizes)
        with (
            signals() as caught, self.log.bar(self.step, self.seconds), closing(read) as source, self.writer
        ):  # fmt: skip
            if (
                self.step and self.measured < self.step
            ):  # the checkpoint is older than the held-out loss of its step
                self._watch(caught, ended=False)
                self._agree_on_end()
            last = time.monotonic()
            while self.progress < 1 and not stop:
                batch = _next(source, caught)
                if batch is None:
                    break
                waited = time.monotonic() - last
                with memory(self.settings, self.writer.newest):
                    row = self._update(batch)
                    self.averages.update(self.step)
                self.writer.check()
                now = time.monotonic()
                self.seconds += now - last
                stop = self._agree(batch, caught)
                if row:
                    self.log.step(self.step, row, items=self.order.batch, seconds=now - last, waited=waited,
                                  details=self.task.details)  # fmt: skip
                if ranks.first() and (self.averages.due(self.step) or self.progress >= 1):
                    self.averages.snapshot(
                        self.step
                    )  # before this step's checkpoint, from which none would make it
                if self.step % self.settings.checkpoint_every == 0:
                    self.save()
                if not stop:
                    self._watch(caught, ended=self.progress >= 1)
                    self._agree_on_end()
                last = time.monotonic()  # saving and previews are not training time
            if self.saved != self.step:
                self.save()
            self.writer.wait()
            ranks.together()  # none ends, and has its launcher end the others, before all is written
            stop = stop or next(iter(caught), 0)
            if stop and self.progress < 1:
                raise Interrupted(stop, self.step, f"Go on with: multigen run {self.folder}")

    def _agree(self, batch: Batch, caught: list[int]) -> int:
        """The signal to stop for, or 0, and the time trained: the same in all ranks. Names what any could not read."""
        orphan = ranks.world() > 1 and os.getppid() != self.parent
        mine = next(iter(caught), 0) or (signal.SIGTERM if orphan else 0)
        clock = self.seconds if ranks.first() else 0.0
        stop, self.seconds, bad = ranks.largest(mine, clock, len(batch.bad_items))
        if bad:
            for files, items in ranks.gathered((batch.bad, batch.bad_items)):
                if self.unreadable.note(files, items):
                    self.check_readable()
        return int(stop)

    def _update(self, batch: Batch) -> dict[str, float]:
        """One step of each network on a batch: its log row, empty where the update was bad and left out."""
        if self.verdicts.lag:
            return self._update_ahead(batch)
        lr = self._lr()
        row: dict[str, float] = {}
        for name, parts in self.task.losses(batch, self.step, self.progress):
            learner = self.learners[name]
            total = ranks.summed(learner.gradient(parts).item(), list(learner.parameters.values()))
            norm = nn.utils.clip_grad_norm_(learner.parameters.values(), self.settings.grad_clip).item()
            if not (math.isfinite(total) and math.isfinite(norm)):
                self._skip(self.step, total, norm, batch.ids)
                self.step += 1
                return {}
            learner.update(lr)
            row |= {"loss": total, "lr": lr, "grad_norm": norm} if name == MODEL else {f"{name}_loss": total}
        self.step += 1
        self.skipped = 0
        self.ema.update(self.step)
        return row

    def _update_ahead(self, batch: Batch) -> dict[str, float]:
        """As `_update`, the device told what to do and not waited for: the log row of an update some steps ago.

        The device leaves out what is bad: of this step the networks from the first bad one on, and the average.
        """
        lr, names, values = self._lr(), [], []
        bad = torch.zeros((), dtype=torch.bool, device=self.verdicts.device)
        for name, parts in self.task.losses(batch, self.step, self.progress):
            learner = self.learners[name]
            total = learner.gradient(parts)
            norm = nn.utils.clip_grad_norm_(learner.parameters.values(), self.settings.grad_clip)
            bad = bad | ~(total.isfinite() & norm.isfinite())
            learner.update(lr, bad.float())
            prefix = "" if name == MODEL else f"{name}_"
            names += [f"{prefix}loss", f"{prefix}grad_norm"]
            values += [total, norm.double()]
        self.verdicts.add(Update(self.step, lr, batch.ids, tuple(names)), torch.stack(values))
        self.step += 1
        self.ema.update(self.step, bad.float())
        return self._heard()

    def _heard(self, *, everything: bool = False) -> dict[str, float]:
        """Count the bad ones among the updates that the device has made since; the log row of the last good one."""
        row: dict[str, float] = {}
        for update, values in self.verdicts.read(everything=everything):
            if all(math.isfinite(value) for value in values.values()):
                self.skipped = 0
                row = {"lr": update.lr, **{n: v for n, v in values.items() if not n.endswith("_grad_norm")}}
                continue
            self._skip(update.step, values["loss"], values["grad_norm"], update.ids)
        return row

    def _skip(self, step: int, loss: float, norm: float, ids: list[str]) -> None:
        """An update is left out, and the next batch comes; TrainingError after too many in a row."""
        if self.skipped >= self.settings.skip:
            raise TrainingError(self._diverged(step, loss, norm, ids))
        self.skipped += 1
        log.warning(
            "step %d: the loss is %s, the gradient norm %s; this update is left out (%d of at most %d in a row). "
            "Items of the batch: %s", step, loss, norm, self.skipped, self.settings.skip, ", ".join(ids),
        )  # fmt: skip

    def _diverged(self, step: int, loss: float, norm: float, ids: list[str]) -> str:
        last = self.writer.newest()
        kept = f"The last good checkpoint is {last}." if last else "No checkpoint was made yet."
        return (
            f"step {step}: the loss is {loss}, the gradient norm {norm}; nothing was updated. {kept} "
            f"Try a smaller train.lr (now {self.settings.lr:g}), a longer train.warmup, or train.precision=fp32. "
            f"Items of the batch: {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}"
        )

    def check_readable(self) -> None:
        """TrainingError, after a save, if more items could not be read than `bad_media` allows."""
        if self.unreadable.too_many:
            if self.step != self.saved:
                self.save()
            raise self.unreadable.error()

    def _watch(self, caught: Caught, ended: bool) -> None:
        """Held-out loss and previews, with the averaged weights, when they are due; a signal cuts them short."""
        s = self.settings
        measure = s.held_out_every > 0 and (ended or self.step % s.held_out_every == 0)
        show = (
            self.preview is not None
            and s.preview_every > 0
            and not ended
            and self.step % s.preview_every == 0
        )
        if not (measure or show) or not ranks.first():
            return
        row: dict[str, float] = {}
        self.task.mode(training=False)
        try:
            with self.ema.applied(), caught.interrupting():
                row = self.task.measure() if measure else {}
                if show and self.preview is not None:
                    self.preview(self.step)
        except Stop:
            log.info("step %d: stopping, without its preview or held-out loss", self.step)
        self.task.mode(training=True)
        if row:
            self.log.held_out(self.step, row)
            if self.settings.keep_best or self.settings.patience:
                self._keep_best(row["mean"])
            self._grade(row["mean"])

    def _agree_on_end(self) -> None:
        """What rank 0 measured decides for all."""
        if self.settings.patience:
            self.worse = int(ranks.largest(self.worse if ranks.first() else 0)[0])

    def _grade(self, loss: float) -> None:
        """Count the held-out losses since the lowest; the training ends when `train.patience` of them have come."""
        self.measured = self.step
        lower = loss < self.lowest
        self.lowest, self.worse = (loss, 0) if lower else (self.lowest, self.worse + 1)
        if 0 < self.settings.patience <= self.worse:
            best = checkpoints.best(self.writer.folder)
            kept = "" if best is None else f" The best checkpoint: {self.writer.folder / best.name}"
            log.info(
                "step %d: %d held-out losses in a row were no lower than %.4f; the training ends.%s",
                self.step, self.worse, self.lowest, kept,
            )  # fmt: skip
            self.saved = -1  # the checkpoint of this step does not know it yet

    def _keep_best(self, loss: float) -> None:
        best = checkpoints.best(self.writer.folder)
        if math.isfinite(loss) and (best is None or loss < best.loss):
            if self.saved != self.step:
                self.save()
            self.writer.wait()
            checkpoints.mark_best(checkpoints.path_of(self.writer.folder, self.step), loss)

    # --- state ------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Take a checkpoint of the present state, which the writer writes; rank 0 does it for all."""
        self._heard(everything=True)
        self.saved = self.step
        if not ranks.first():
            return
        tensors = {"ema": {**self.ema.shadow, **self._buffers()}, **self.averages.state()}
        for learner in self.learners.values():
            tensors |= learner.state()
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "measured": self.measured,
            "lowest": self.lowest if math.isfinite(self.lowest) else None,
            "worse": self.worse,
            "progress": self.progress,
            "seed": self.seed,
            "base": self.task.base,
            **self.unreadable.state(),
        }
        with memory(self.settings, self.writer.newest):
            self.writer.save(self.step, checkpoints.Checkpoint(tensors, {**state, **self.origin}))
        self.log.flush()

    def _buffers(self) -> dict[str, Tensor]:
        """What the model holds beside its parameters, such as the codec's statistics; a base keeps its own."""
        if self.task.base is not None:
            return {}
        state = self.task.networks[MODEL].state_dict()
        return {name: value for name, value in state.items() if name not in self.parameters}

    def restore(self, state: checkpoints.Checkpoint) -> None:
        """Go on from a checkpoint: weights, averages, optimizers, codec statistics, step and seconds.

        MultigenError if it is another model's, or was learned beside other weights.
        """
        if (base := state.state.get("base")) != self.task.base:
            raise MultigenError(
                f"{self.folder}: the adapter was trained on other weights ({base}) than those that train.init or the "
                f"backbone's folder gives now ({self.task.base}); go on with the former ones"
            )
        buffers = {k: v for k, v in state.tensors["ema"].items() if k not in self.parameters}
        rows = self.learners[MODEL].mismatches(state.tensors) or mismatches(self._buffers(), buffers)
        for learner in self.learners.values():
            rows = rows or learner.mismatches(state.tensors)
        if rows:
            made = f" It was made by recipe {state.state['recipe']}." if "recipe" in state.state else ""
            raise MultigenError(
                f"{self.folder}: the checkpoint is of another model than the recipe says: {'; '.join(rows)}.{made}"
            )
        for learner in self.learners.values():
            learner.load(state.tensors)
        self.ema.load(state.tensors["ema"])
        with torch.no_grad():
            for name, buffer in self._buffers().items():
                buffer.copy_(buffers[name])
        self.averages.load(state.tensors, int(state.state["step"]))
        self.step, self.seconds = int(state.state["step"]), float(state.state["seconds"])
        self.saved = self.step
        self.skipped = int(state.state.get("skipped", 0))
        self.measured, self.worse = int(state.state.get("measured", 0)), int(state.state.get("worse", 0))
        lowest = state.state.get("lowest")
        self.lowest = math.inf if lowest is None else float(lowest)
        self.unreadable.load(state.state)


def _next(source: Iterator[Batch], caught: list[int]) -> Batch | None:
    """The next batch; None if a signal to all our processes ended its readers."""
    try:
        return next(source)
    except RuntimeError:
        if caught:
            return None
        raise
