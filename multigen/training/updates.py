"""Updates: one optimizer step of each network on a batch. Updates with a non-finite loss or gradient are skipped."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

from multigen.errors import TrainingError
from multigen.recipe.schema import Train
from multigen.training import ranks
from multigen.training.batch import Batch
from multigen.training.sharding import clip_gradients, is_cut
from multigen.training.state import State
from multigen.training.task import MODEL
from multigen.training.verdicts import LAG, Update, Verdicts

log = logging.getLogger(__name__)


class Updates:
    """Steps the networks of a training.

    newest   returns the newest valid checkpoint, for error messages
    """

    def __init__(
        self, state: State, settings: Train, device: torch.device, newest: Callable[[], Path | None]
    ) -> None:
        self.state, self.task, self.counters = state, state.task, state.counters
        self.settings, self.newest = settings, newest
        # With several ranks the host needs every loss at once, to add it to those of the others.
        ahead = device.type == "cuda" and ranks.world() == 1
        self.verdicts = Verdicts(device, LAG if ahead else 0)

    def step(self, batch: Batch) -> dict[str, float]:
        """Update each network on a batch. Returns the log row, empty if the update was skipped."""
        if self.verdicts.lag:
            return self._step_ahead(batch)
        lr = self.counters.lr()
        row: dict[str, float] = {}
        for name, parts in self.task.losses(batch, self.counters.step, self.counters.progress):
            learner = self.state.learners[name]
            loss = learner.gradient(parts).item()
            total = ranks.summed(
                loss, [p for n, p in learner.parameters.items() if not is_cut(learner.whole[n])]
            )
            norm = clip_gradients(learner.parameters, learner.whole, self.settings.grad_clip).item()
            if not (math.isfinite(total) and math.isfinite(norm)):
                self._skip(self.counters.step, total, norm, batch.ids)
                self.counters.step += 1
                return {}
            learner.update(lr)
            row |= {"loss": total, "lr": lr, "grad_norm": norm} if name == MODEL else {f"{name}_loss": total}
        self.counters.step += 1
        self.counters.skipped = 0
        self.state.ema.update(self.counters.step)
        return row

    def _step_ahead(self, batch: Batch) -> dict[str, float]:
        """As `step`, without waiting for the device. Returns the log row of an update some steps ago.

        The device itself skips a bad update: the networks from the first bad one on, and the average.
        """
        lr, names, values = self.counters.lr(), [], []
        bad = torch.zeros((), dtype=torch.bool, device=self.verdicts.device)
        for name, parts in self.task.losses(batch, self.counters.step, self.counters.progress):
            learner = self.state.learners[name]
            total = learner.gradient(parts)
            norm = nn.utils.clip_grad_norm_(learner.parameters.values(), self.settings.grad_clip)
            bad = bad | ~(total.isfinite() & norm.isfinite())
            learner.update(lr, bad.float())
            prefix = "" if name == MODEL else f"{name}_"
            names += [f"{prefix}loss", f"{prefix}grad_norm"]
            values += [total, norm.double()]
        self.verdicts.add(Update(self.counters.step, lr, batch.ids, tuple(names)), torch.stack(values))
        self.counters.step += 1
        self.state.ema.update(self.counters.step, bad.float())
        return self.read_verdicts()

    def read_verdicts(self, *, everything: bool = False) -> dict[str, float]:
        """Count the bad ones among the updates that the device has finished. Returns the log row of the last good one.

        everything   wait for the updates that it has not finished
        """
        row: dict[str, float] = {}
        for update, values in self.verdicts.read(everything=everything):
            if all(math.isfinite(value) for value in values.values()):
                self.counters.skipped = 0
                row = {"lr": update.lr, **{n: v for n, v in values.items() if not n.endswith("_grad_norm")}}
                continue
            self._skip(update.step, values["loss"], values["grad_norm"], update.ids)
        return row

    def _skip(self, step: int, loss: float, norm: float, ids: Sequence[str]) -> None:
        """Count a skipped update; TrainingError after too many in a row."""
        if self.counters.skipped >= self.settings.skip:
            raise TrainingError(self._diverged(step, loss, norm, ids))
        self.counters.skipped += 1
        log.warning(
            "step %d: the loss is %s, the gradient norm %s; this update is skipped (%d of at most %d in a row). "
            "Items of the batch: %s",
            step, loss, norm, self.counters.skipped, self.settings.skip, ", ".join(ids),
        )  # fmt: skip

    def _diverged(self, step: int, loss: float, norm: float, ids: Sequence[str]) -> str:
        last = self.newest()
        kept = f"The last good checkpoint is {last}." if last else "There is no checkpoint yet."
        return (
            f"step {step}: the loss is {loss}, the gradient norm {norm}; nothing was updated. {kept} "
            f"Try a smaller train.lr (now {self.settings.lr:g}), a longer train.warmup, or train.precision=fp32. "
            f"Items of the batch: {', '.join(ids[:8])}{' ...' if len(ids) > 8 else ''}"
        )
