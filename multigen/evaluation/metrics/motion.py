"""Videos of one thing on white: does it go where the prompt says, does it stay the same thing, does it flicker?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset
from multigen.datasets.moving_emoji import DIRECTIONS
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Score, Wanted
from multigen.evaluation.metrics.things import cut_out, ink
from multigen.modalities import Modality
from multigen.registry import Given

_MOVES = 0.15  # of the shorter side: what goes less far between the first and the last quarter stands still


class Direction:
    """Share of videos whose thing moves in the asked one of eight directions, or stands still if that was asked.

    Tracked by the centre of what is not white; the direction is the way from the mean place in the first quarter of
    the frames to that in the last, to the nearest 45 degrees.
    """

    better = "higher"
    reads = "prompt"
    about = "the thing moves where the prompt says"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        _films(modality, "direction")
        self.classes = dataset.classes
        if set(self.classes) != set(DIRECTIONS):
            raise RecipeError(
                "evaluate.metrics: direction needs a dataset whose labels are directions: moving_emoji"
            )

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """1 where it is right, 0 where not, NaN without a label."""
        values = [
            math.nan if w.label is None else float(direction(m) == self.classes[w.label])
            for m, w in zip(media, wanted, strict=True)
        ]
        return Score.of(values)


class Kept:
    """How much alike the thing stays: mean correlation of each frame, cut out, with the middle one."""

    better = "higher"
    reads = "media"
    about = "correlation of the thing in every frame with that in the middle one"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        _films(modality, "kept")

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """From -1 to 1."""
        return Score.of([_alike(_cut_frames(m)) for m in media])


class Flicker:
    """Mean absolute change between neighbouring frames of the thing, cut out; 0 for one that only moves."""

    better = "lower"
    reads = "media"
    about = "mean change between neighbouring frames of the thing itself, of 2"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        _films(modality, "flicker")

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """From 0 to 2."""
        cut = [_cut_frames(m) for m in media]
        return Score.of([float(c.diff(dim=0).abs().mean()) if len(c) > 1 else math.nan for c in cut])


def track(video: Tensor) -> Tensor:
    """Centre (x, y) in pixels of what is not white in each frame of [C, T, H, W]: [T, 2]; NaN for white frames."""
    weight = torch.stack([ink(f) for f in video.movedim(1, 0)])
    total = weight.sum((1, 2))
    x = (weight.sum(1) * torch.arange(weight.shape[2])).sum(1)
    y = (weight.sum(2) * torch.arange(weight.shape[1])).sum(1)
    return torch.stack([x, y], 1) / torch.where(total > 0, total, math.nan)[:, None]


def direction(video: Tensor) -> str | None:
    """The name of the direction in which the thing of a video [C, T, H, W] goes; None if there is nothing."""
    path = track(video)
    path = path[~path.isnan().any(1)]
    if not len(path):
        return None
    quarter = max(1, len(path) // 4)
    x, y = (path[-quarter:].mean(0) - path[:quarter].mean(0)).tolist()
    if math.hypot(x, y) < _MOVES * min(video.shape[-2:]):
        return "still"
    eighth = round(math.atan2(y, x) / (math.pi / 4)) * math.pi / 4
    step = (round(math.cos(eighth)), round(math.sin(eighth)))
    return next(name for name, (way, _) in DIRECTIONS.items() if way == step)


def _cut_frames(video: Tensor) -> Tensor:
    return torch.stack([cut_out(f, 32) for f in video.movedim(1, 0)])


def _alike(frames: Tensor) -> float:
    flat = 1 - frames.flatten(1)
    flat = torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)
    others = [k for k in range(len(flat)) if k != len(flat) // 2]
    return float((flat[others] @ flat[len(flat) // 2]).mean()) if others else math.nan


def _films(modality: Modality, who: str) -> None:
    if modality.name != "video":
        raise RecipeError(f"evaluate.metrics: {who} takes videos; the modality is {modality.name}")
