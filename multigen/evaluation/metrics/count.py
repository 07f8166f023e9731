"""Are there as many of the thing as the prompt asks for?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.core.noise import stream
from multigen.datasets import Dataset, Item
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import ink, on_white
from multigen.evaluation.metrics.drawings import labelled
from multigen.evaluation.metrics.picture_classifier import Batch, accuracy, train_classifier
from multigen.modalities import Modality
from multigen.registry import Given

_SIDE = 32  # px of what the classifier sees
_BATCH = 64
_MOST = 3


class Count(Metric):
    """Share of pictures that show one, two or three of the thing, as the prompt asks.

    A small classifier sees where a picture is not white, at 32 x 32, and learns in `steps` steps from `drawings` real
    pictures of training whose captions say a number, each zoomed and shifted. Its accuracy on real pictures is the
    ceiling. NaN where the prompt asks for no number.
    """

    better = "higher"
    reads = "prompt"
    about = (
        "share that shows as many as the prompt asks for, 1 to 3, to a classifier trained on real pictures"
    )

    def __init__(
        self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 400, drawings: int = 1000
    ) -> None:
        check_modality(modality, (2,), "count")
        found = dataset.catalogue()
        if found is None or "counted" not in found.kinds:
            raise RecipeError("evaluate.metrics: count needs data whose captions say a number: data.several")
        for name, value in {"steps": steps, "drawings": drawings}.items():
            if value < 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 1 or more.")
        self.dataset, self.catalogue = dataset, found
        self.steps, self.drawings = steps, drawings
        self._net: nn.Module | None = None

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the number is right, 0 where it is wrong, NaN where none is asked for."""
        asked = [self._label(t.id) for t in targets]
        if all(one is None for one in asked):
            return Score.of([math.nan] * len(asked))
        if self._net is None:
            self._net = self._classifier()
        return accuracy(self._net, [_map(m) for m in media], asked)

    def _label(self, name: str) -> int | None:
        count = self.catalogue.count(name)
        return None if count is None else count - 1

    def _classifier(self) -> nn.Module:
        def label(item: Item) -> int | None:
            return self._label(item["id"])

        def picture(item: Item) -> Tensor:
            return _map(item["media"])

        pictures, labels = labelled(self.dataset, label, picture, self.drawings, "count")

        def batch(step: int) -> Batch:
            rng = stream(0, "count", "batch", step)
            chosen = torch.randint(len(labels), (_BATCH,), generator=rng)
            return _zoomed(pictures[chosen], rng), labels[chosen]

        return train_classifier(batch, _MOST, self.steps)


def _map(picture: Tensor) -> Tensor:
    """Where a picture [C, H, W] is not white, [1, 32, 32] in [0, 1]."""
    colour = picture if picture.shape[0] in (1, 3) else on_white(picture)
    return F.adaptive_avg_pool2d(ink(colour)[None], _SIDE)


def _zoomed(maps: Tensor, rng: torch.Generator) -> Tensor:
    """[B, 1, H, W], each 0.85 to 1.25 times as large, shifted by up to 5% and by half mirrored; clear around."""
    n = len(maps)
    zoom = 1 / (0.85 + 0.4 * torch.rand(n, generator=rng))
    flip = (torch.rand(n, generator=rng) < 0.5).float() * 2 - 1
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zoom * flip, zoom
    theta[:, :, 2] = 0.2 * (torch.rand(n, 2, generator=rng) - 0.5)
    place = F.affine_grid(theta, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, place, align_corners=False)
