"""Pictures that were made after another: do their edges lie where those of the other lie?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from multigen.conditioners.extractors.drawn import edges
from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.modalities import Modality
from multigen.registry import Given

_EDGE = 0.5  # of an edge in full, over which a pixel counts


class Outline(Metric):
    """How well the edges of a picture and of its condition agree: F1 of those within one pixel of each other.

    Twice the product of precision and recall over their sum: precision is the share of the picture's edge pixels that
    have one of the condition's among their eight neighbours or in their own place, recall the same the other way. 1
    where neither has edges. A condition of another size is brought to the picture's.
    """

    better = "higher"
    reads = "prompt"
    about = "edges of the picture and of its condition, within one pixel (F1)"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (2,), "outline")
        self.modality = modality

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """The F1 of each picture; NaN without a condition."""
        return Score.of([self._value(m, t) for m, t in zip(media, targets, strict=True)])

    def _value(self, picture: Tensor, target: Target) -> float:
        shown = target.condition
        if shown is None or shown.tensor.ndim != 3:
            return math.nan
        wanted = shown.modality.convert(shown.tensor, self.modality)
        if wanted.shape[1:] != picture.shape[1:]:
            wanted = self.modality.fit(wanted, (len(wanted), *picture.shape[1:]))
        return agreement(edges(picture[None].float()), edges(wanted[None].float()))


def agreement(made: Tensor, wanted: Tensor) -> float:
    """F1 of the edges [1, 1, H, W] of two pictures, within one pixel."""
    a, b = (x > _EDGE for x in (made, wanted))
    if not bool(a.any()) and not bool(b.any()):
        return 1.0
    near_a, near_b = (F.max_pool2d(x.float(), 3, stride=1, padding=1) > 0 for x in (a, b))
    precision = float((a & near_b).sum()) / max(int(a.sum()), 1)
    recall = float((b & near_a).sum()) / max(int(b.sum()), 1)
    return 2 * precision * recall / max(precision + recall, 1e-9)
