"""Held-out losses and previews during a training, the best checkpoint, and early stopping."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext

from multigen.modalities.media import Media
from multigen.recipe.schema import Train
from multigen.training import checkpoint as checkpoints
from multigen.training import ranks
from multigen.training.log import Log
from multigen.training.signals import Caught, Stop
from multigen.training.state import State
from multigen.training.writer import Writer

log = logging.getLogger(__name__)


class Monitor:
    """Measures the averaged weights at the intervals of the settings.

    save      takes a checkpoint of the present state
    preview   makes media at a step, the averaged weights in place, for the boards; None: no previews
    """

    def __init__(
        self,
        state: State,
        settings: Train,
        training_log: Log,
        writer: Writer,
        *,
        save: Callable[[], None],
        preview: Callable[[int], Sequence[Media]] | None,
    ) -> None:
        self.state, self.task, self.counters = state, state.task, state.counters
        self.settings, self.log, self.writer = settings, training_log, writer
        self.save, self.preview = save, preview

    def look(self, caught: Caught, *, ended: bool) -> None:
        """Measure and show what is due at this step, in rank 0; all ranks then agree on whether to stop early.

        caught   a signal cuts this short
        ended    the training is over: measure, but make no preview
        """
        self._look(caught, ended=ended)
        if self.settings.patience:
            self.counters.worse = int(ranks.largest(self.counters.worse if ranks.first() else 0)[0])

    def _look(self, caught: Caught, *, ended: bool) -> None:
        s, step = self.settings, self.counters.step
        measure = s.held_out_every > 0 and (ended or step % s.held_out_every == 0)
        show = self.preview is not None and s.preview_every > 0 and not ended and step % s.preview_every == 0
        together = self.state.layout.cut_at_all  # then no rank can measure alone
        if not (measure or show) or not (ranks.first() or together):
            return
        row: dict[str, float] = {}
        self.task.mode(training=False)
        try:
            with self.state.ema.applied(), nullcontext() if together else caught.interrupting():
                row = self.task.measure(step) if measure else {}
                if show and self.preview is not None:
                    self.log.preview(step, self.preview(step))
        except Stop:
            log.info("step %d: stopping without its preview or held-out loss", step)
        self.task.mode(training=True)
        if row and together:
            row = ranks.gathered(row)[0]  # devices may round differently, and all must go on alike
        if row:
            self.log.held_out(step, row)
            if s.keep_best or s.patience:
                self._keep_best(row["mean"])
            self._count(row["mean"])

    def _count(self, loss: float) -> None:
        """Count the held-out losses since the lowest. `train.patience` of them end the training."""
        c = self.counters
        c.measured = c.step
        c.lowest, c.worse = (loss, 0) if loss < c.lowest else (c.lowest, c.worse + 1)
        if 0 < self.settings.patience <= c.worse:
            best = checkpoints.best(self.writer.folder)
            kept = "" if best is None else f" The best checkpoint: {self.writer.folder / best.name}"
            log.info(
                "step %d: %d held-out losses in a row were no lower than %.4f; the training ends.%s",
                c.step, c.worse, c.lowest, kept,
            )  # fmt: skip
            c.saved = -1  # the checkpoint of this step does not record the end

    def _keep_best(self, loss: float) -> None:
        best = checkpoints.best(self.writer.folder)
        better = math.isfinite(loss) and (best is None or loss < best.loss)
        if self.state.layout.cut_at_all:  # the ranks save together, if the first finds it better
            better = bool(ranks.largest(float(better and ranks.first()))[0])
        if not better:
            return
        if self.counters.saved != self.counters.step:
            self.save()
        if ranks.first():
            self.writer.wait()
            checkpoints.mark_best(checkpoints.path_of(self.writer.folder, self.counters.step), loss)
