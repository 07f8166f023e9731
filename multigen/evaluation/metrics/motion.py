"""Videos of one object on white: does it move in the requested direction?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset
from multigen.datasets.motions import DIRECTIONS
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import ink
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
