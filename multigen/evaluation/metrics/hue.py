"""Is the picture in the colour that the prompt names?"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from multigen.datasets import Dataset
from multigen.datasets.colours import HUES, hue_of
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import middle_frame
from multigen.modalities import Modality
from multigen.registry import Given


class Hue(Metric):
    """Share of media whose main hue lies within `within` degrees of the colour that the prompt names.

    The main hue is the mean hue of all pixels that are not white, weighted by saturation and value. Of a video the
    middle frame counts.
    """

    better = "higher"
    reads = "prompt"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], within: float = 30.0) -> None:
        check_modality(modality, (2, 3), "hue")
        if modality.shape()[0] not in (3, 4):
            raise RecipeError("evaluate.metrics: hue takes images or video in colour; set channels to 3 or 4")
        if not 0 < within < 180:
            raise ValueError(f"within: {within} is not allowed. Allowed: above 0, below 180 degrees")
        self.within = within
        self.about = f"the colour that the prompt names, within {within:g} degrees of hue"

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the hue is right, 0 where it is wrong or there is none, NaN if the prompt names no colour."""
        values = []
        for medium, target in zip(media, targets, strict=True):
            colour = next((w for w in (target.id or target.prompt).split() if w in HUES), None)
            if colour is None:
                values.append(math.nan)
                continue
            seen = hue_of(middle_frame(medium))
            near = seen is not None and abs((seen - HUES[colour] + 180) % 360 - 180) <= self.within
            values.append(float(near))
        return Score.of(values)
