"""Videos of one object on white: does it move as requested, stay the same object, and not flicker?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset
from multigen.datasets.motions import DIRECTIONS, MOTIONS, parse
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import cut_out, ink
from multigen.modalities import Modality
from multigen.registry import Given

_MOVES = (
    0.15  # of the shorter side: a smaller shift from the first to the last quarter counts as standing still
)


class Direction(Metric):
    """Share of videos whose object moves in the requested one of eight directions, or stands still if requested.

    The object is tracked by the centre of what is not white. The direction leads from its mean place in the first
    quarter of the frames to that in the last quarter, rounded to 45 degrees.
    """

    better = "higher"
    reads = "prompt"
    about = "share whose object moves in the requested direction"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "direction")
        self.classes = dataset.classes
        if set(self.classes) != set(DIRECTIONS):
            raise RecipeError(
                "evaluate.metrics: direction needs a dataset whose labels are directions: moving_emoji"
            )

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the direction is right, 0 where it is wrong, NaN without a label."""
        values = [
            math.nan if t.label is None else float(direction(m) == self.classes[t.label])
            for m, t in zip(media, targets, strict=True)
        ]
        return Score.of(values)


class Kept(Metric):
    """How constant the object is: mean correlation of each frame, cut out, with the middle frame.

    Not of two objects, nor of one that is asked to spin or appear: they are not to stay the same picture.
    """

    better = "higher"
    reads = "media"
    about = "correlation of the object in each frame with that in the middle frame"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "kept")

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """Correlations from -1 to 1; NaN for what is not to stay the same."""
        return Score.of(
            [
                _correlation(_cut_frames(m)) if _stays(t) else math.nan
                for m, t in zip(media, targets, strict=True)
            ]
        )


class Flicker(Metric):
    """Mean absolute change of the object, cut out, between neighbouring frames; 0 if it only moves.

    Not of two objects, nor of one that is asked to spin or appear.
    """

    better = "lower"
    reads = "media"
    about = "mean change of the object between neighbouring frames, of 2"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "flicker")

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """Changes from 0 to 2; NaN for a single frame and for what is not to stay the same."""
        return Score.of(
            [
                float(_cut_frames(m).diff(dim=0).abs().mean()) if m.shape[1] > 1 and _stays(t) else math.nan
                for m, t in zip(media, targets, strict=True)
            ]
        )


def track(video: Tensor) -> Tensor:
    """Centre (x, y), in pixels, of what is not white in each frame of [C, T, H, W]: [T, 2]; NaN for white frames."""
    weight = torch.stack([ink(f) for f in video.movedim(1, 0)])
    total = weight.sum((1, 2))
    x = (weight.sum(1) * torch.arange(weight.shape[2])).sum(1)
    y = (weight.sum(2) * torch.arange(weight.shape[1])).sum(1)
    return torch.stack([x, y], 1) / torch.where(total > 0, total, math.nan)[:, None]


def direction(video: Tensor) -> str | None:
    """The name of the direction in which the object of a video [C, T, H, W] moves; None if there is no object."""
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


def _stays(target: Target) -> bool:
    """Whether the object, cut out, is to be the same picture in each frame; so it is where no motion is known."""
    asked = parse(target.id)
    return len(asked) < 2 and all(MOTIONS[motion].same for _, motion in asked)


def _cut_frames(video: Tensor) -> Tensor:
    return torch.stack([cut_out(f, 32) for f in video.movedim(1, 0)])


def _correlation(frames: Tensor) -> float:
    """Mean correlation of the frames [T, C, H, W] with the middle one; NaN for a single frame."""
    flat = 1 - frames.flatten(1)
    flat = torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)
    rest = [k for k in range(len(flat)) if k != len(flat) // 2]
    return float((flat[rest] @ flat[len(flat) // 2]).mean()) if rest else math.nan
