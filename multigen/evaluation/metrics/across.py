"""Videos and sounds of one event: do their impacts meet, and does the pitch follow the height?"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.conditioners.extractors.heard import STEPS, onset_strength, pitch
from multigen.conditioners.extractors.moving import trace
from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.modalities import Modality
from multigen.modalities.pace import per_second
from multigen.registry import Given

# At 8 frames/s, in picture heights a frame: how fast what hits the ground falls, and by how much its speed turns.
_FALL, _TURN = 0.03, 0.095
_STRONG, _APART = 0.4, 0.12  # of all bands, of an onset; s between two
_CLEAR = 0.6  # of a pitch that is compared


class Pair(NamedTuple):
    """A video [C, T, H, W] with its frames/s, and a sound [C, N] with its rate in Hz."""

    video: Tensor
    fps: float
    sound: Tensor
    rate: float


class _Together(Metric):
    """A metric of a medium and the one that it was made for: one is a video, the other a sound."""

    better = "higher"
    reads = "prompt"

    def __init__(self, modality: Modality, name: str) -> None:
        check_modality(modality, (1, 3), name)
        self.modality = modality

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The value of each medium; NaN without a condition."""
        return Score.of([self._value(m, t) for m, t in zip(media, targets, strict=True)])

    def _value(self, media: Tensor, target: Target) -> float:
        if target.condition is None:
            return math.nan
        sides = [(media, self.modality), (target.condition.tensor, target.condition.modality)]
        shown = [(t, per_second(m)) for t, m in sides if t.ndim == 4]
        heard = [(t, per_second(m)) for t, m in sides if t.ndim == 2]
        return self.of(Pair(*shown[0], *heard[0])) if shown and heard else math.nan

    @abstractmethod
    def of(self, pair: Pair) -> float:
        """The value of one pair."""


class Impacts(_Together):
    """How well impacts that are seen and onsets that are heard meet: those within one frame of each other.

    Twice the number of those that meet, over the number of all (the F1 score); 1 where there is none of either. An
    impact is where what falls turns and rises, or stops, by the track of what stands out; an onset is where many bands
    of frequency become louder at once. What is within a frame of the beginning or the end is left out.
    """

    about = "impacts that are seen and onsets that are heard, within one frame (F1)"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        super().__init__(modality, "impacts")

    def of(self, pair: Pair) -> float:
        """F1 of a pair."""
        seconds = min(pair.video.shape[1] / pair.fps, pair.sound.shape[1] / pair.rate)
        frame = 1 / pair.fps
        seen, heard = impacts(pair.video, pair.fps), onsets(pair.sound, pair.rate)
        inner = [[t for t in times if frame <= t <= seconds - frame] for times in (seen, heard)]
        if not any(inner):
            return 1.0
        met = _met(inner[0], heard, frame) + _met(inner[1], seen, frame)
        return met / (len(inner[0]) + len(inner[1]))


class HeightPitch(_Together):
    """Whether the pitch follows the height: rank correlation of the two over time (Spearman's).

    Over the hundredths of a second in which the sound has a clear pitch; NaN where nothing moves up or down.
    """

    about = "rank correlation of pitch and height"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        super().__init__(modality, "height_pitch")

    def of(self, pair: Pair) -> float:
        """The correlation of a pair, -1 to 1; 0 without a clear pitch."""
        hertz, clear = (x[0] for x in pitch(pair.sound.mean(0, keepdim=True), pair.rate))
        high = trace(pair.video[None])[0, 1]
        times = (torch.arange(len(hertz)) + 0.5) / STEPS
        at = times * pair.fps - 0.5
        some = (clear > _CLEAR) & (at >= 0) & (at <= len(high) - 1)
        if float(high.max() - high.min()) < 0.1:
            return math.nan
        if int(some.sum()) < 10:
            return 0.0
        first = at[some].long().clamp_max(len(high) - 2)
        part = at[some] - first
        height = high[first] * (1 - part) + high[first + 1] * part
        return spearman(height, hertz[some])


def impacts(video: Tensor, fps: float) -> list[float]:
    """When, in s, the thing in a video [C, T, H, W] hits the ground: what falls turns at once, or stops.

    Gravity, and what floats, change a speed by little from frame to frame. The turn of an impact lies in one frame or
    in two; its time is their mean, weighted by how much of it lies in each.
    """
    high = trace(video[None])[0, 1].double() / 2  # in picture heights
    steps = high.diff()
    turns = (steps.diff() * (fps / 8) ** 2).clamp_min(0).tolist()  # turn k is in frame k + 1
    both = [a + b for a, b in zip(turns, [*turns[1:], 0.0], strict=True)]
    found: list[float] = []
    for k in sorted(range(len(both)), key=lambda k: -both[k]):
        falls = float(steps[k]) * fps / 8 < -_FALL
        if falls and both[k] > _TURN and all(abs(time - (k + 2) / fps) > 2 / fps for time in found):
            after = [*turns, 0.0][k + 1]
            found.append((k + 1.5 + after / both[k]) / fps)
    return sorted(found)


def onsets(sound: Tensor, rate: float) -> list[float]:
    """When, in s, something begins in a sound [C, N]: peaks of how many bands become louder at once."""
    strength = onset_strength(sound.mean(0, keepdim=True), rate)[0].tolist()
    found: list[float] = []
    for k, value in enumerate(strength):
        around = strength[max(0, k - 3) : k + 4]
        if value >= _STRONG and value == max(around) and (not found or k / STEPS - found[-1] > _APART):
            found.append(k / STEPS)
    return found


def spearman(a: Tensor, b: Tensor) -> float:
    """Rank correlation of two rows of numbers; equal numbers share their mean rank. 0 where one is constant."""
    ranks = [_ranks(x) for x in (a, b)]
    centred = [r - r.mean() for r in ranks]
    size = (centred[0].square().sum() * centred[1].square().sum()).sqrt()
    return float((centred[0] * centred[1]).sum() / size) if float(size) > 0 else 0.0


def _ranks(values: Tensor) -> Tensor:
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts.double() - 1) / 2)[place]


def _met(some: Sequence[float], others: Sequence[float], within: float) -> int:
    """How many of some times have one of the others near."""
    return sum(any(abs(t - o) <= within for o in others) for t in some)
