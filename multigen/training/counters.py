"""Counters of a training: how far it is, what its checkpoints record, and the learning rate that follows from both."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multigen.recipe.schema import Train


@dataclass
class Counters:
    """Counters of one training.

    step       steps so far, skipped updates included
    seconds    training time so far, without previews and saving
    skipped    updates skipped in a row until now
    saved      step of the newest checkpoint; -1 if that checkpoint is out of date
    measured   step of the last held-out loss
    lowest     lowest held-out loss
    worse      held-out losses measured since the lowest one
    """

    settings: Train
    step: int = 0
    seconds: float = 0.0
    skipped: int = 0
    saved: int = 0
    measured: int = 0
    lowest: float = math.inf
    worse: int = 0

    @property
    def progress(self) -> float:
        """Share of the training that is done; 1 when it is over."""
        if 0 < self.settings.patience <= self.worse:
            return 1.0
        return share_done(self.settings, self.step, self.seconds)

    def lr(self) -> float:
        """Return the learning rate of the next step: a linear warm-up, and a cosine to 0 along `progress`."""
        return self._lr(self.progress)

    def _lr(self, progress: float) -> float:
        warm = min((self.step + 1) / max(self.settings.warmup, 1), 1.0)
        return self.settings.lr * warm * 0.5 * (1 + math.cos(math.pi * progress))

    def short_warmup(self) -> str | None:
        """What to say of a warm-up that the training does not get through; None if it does."""
        t, ends = self.settings, self.settings.steps
        if self.progress >= 1 and self.step < t.warmup:
            return (
                f"the training ended at step {self.step}, in its warm-up of {t.warmup} steps: the learning rate "
                f"stayed below {t.lr * self.step / t.warmup:.3g} of {t.lr:.3g}. Train longer, or set a smaller "
                "train.warmup"
            )
        if self.progress < 1 and ends is not None and ends < t.warmup:
            return (
                f"train.warmup: {t.warmup} steps are more than the training has ({ends}): its learning rate stays "
                f"below {t.lr:.3g}. A tenth of them is usual: train.warmup={max(ends // 10, 1)}"
            )
        return None

    def rise(self, state: Mapping[str, Any]) -> str | None:
        """What to say where other limits lift the learning rate above the checkpoint's; None where they do not."""
        before, now = self._lr(float(state.get("progress", self.progress))), self.lr()
        if now <= 1.05 * before:
            return None
        return (
            f"the learning rate goes up from {before:.2g} to {now:.2g}: its cosine now ends at the new train.steps or "
            "train.minutes. The loss may rise at first"
        )

    def state(self) -> dict[str, Any]:
        """Return what the JSON state of a checkpoint records."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "skipped": self.skipped,
            "measured": self.measured,
            "lowest": self.lowest if math.isfinite(self.lowest) else None,
            "worse": self.worse,
            "progress": self.progress,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Set all counters from the JSON state of a checkpoint."""
        self.step, self.seconds = int(state["step"]), float(state["seconds"])
        self.saved = self.step
        self.skipped = int(state.get("skipped", 0))
        self.measured, self.worse = int(state.get("measured", 0)), int(state.get("worse", 0))
        lowest = state.get("lowest")
        self.lowest = math.inf if lowest is None else float(lowest)


def share_done(settings: Train, step: int, seconds: float) -> float:
    """Return the share of a training that is done: of its steps or its minutes, whichever ends it first."""
    shares = []
    if settings.steps is not None:
        shares.append(step / max(settings.steps, 1))
    if settings.minutes is not None:
        shares.append(seconds / (60 * settings.minutes))
    return min(max(shares, default=1.0), 1.0)
