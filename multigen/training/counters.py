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
        warm = min((self.step + 1) / max(self.settings.warmup, 1), 1.0)
        return self.settings.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))

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
