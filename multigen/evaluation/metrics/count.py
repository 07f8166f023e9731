"""Are there as many of the thing as the prompt asks for?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import ink, on_white
from multigen.evaluation.metrics.judge import Judge
from multigen.modalities import Modality
from multigen.registry import Given

_SIDE = 32  # px of what the classifier sees
_MOST = 3


class Count(Judge):
    """Share of pictures that show one, two or three of the thing, as the prompt asks.

    A small classifier sees where a picture is not white, at 32 x 32, and learns in `steps` steps from `drawings` real
    pictures of training whose captions say a number, each zoomed and shifted. Its accuracy on real pictures is the
    ceiling. NaN where the prompt asks for no number.
    """

    word = "count"
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
        super().__init__(dataset, found, _MOST, steps, drawings)

    def label(self, name: str) -> int | None:
        """The number less 1."""
        count = self.catalogue.count(name)
        return None if count is None else count - 1

    def seen(self, medium: Tensor, name: str) -> Tensor:
        """Where the picture is not white."""
        return _map(medium)

    def varied(self, pictures: Tensor, rng: torch.Generator) -> Tensor:
        """Each zoomed and shifted."""
        return _zoomed(pictures, rng)


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
