"""Videos that were made from a picture: does the thing in each frame look like the thing in the picture?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import normalize

from multigen.datasets import Dataset
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import cut_out
from multigen.evaluation.metrics.steadiness import cut_frames
from multigen.modalities import Modality
from multigen.registry import Given


class SameThing(Metric):
    """Mean correlation of the thing in each frame, cut out, with the thing in the picture that was given.

    For things that move and stay as they are; one that spins, grows faint or is two differs as it does so.
    """

    better = "higher"
    reads = "prompt"
    about = "correlation of the thing in each frame with that in the given picture"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset]) -> None:
        check_modality(modality, (3,), "same_thing")

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """Correlations from -1 to 1; NaN without a picture."""
        return Score.of([_value(m, t) for m, t in zip(media, targets, strict=True)])


def _value(video: Tensor, target: Target) -> float:
    if target.condition is None or target.condition.tensor.ndim != 3:
        return math.nan
    frames = cut_frames(video)
    picture = cut_out(target.condition.tensor, frames.shape[-1])
    rows = [
        normalize(x - x.mean(1, keepdim=True), dim=1)
        for x in (1 - frames.flatten(1), 1 - picture.flatten()[None])
    ]
    return float((rows[0] @ rows[1].T).mean())
