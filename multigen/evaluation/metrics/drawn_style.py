"""Is the picture drawn in the style that the prompt names?"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import frame_at, on_white
from multigen.evaluation.metrics.judge import Judge
from multigen.modalities import Modality
from multigen.registry import Given

_SHIFT = 3  # px


class Style(Judge):
    """Share of media whose style, of those that captions can name, a small classifier recognises.

    It learns from `drawings` real pictures of training items, as training draws them, in `steps` steps. Its accuracy
    on real pictures is the ceiling: for captions of training on drawings that it has learnt from, drawn anew; for new
    combinations of a thing and a style on drawings that it has never seen. Of a video one frame counts, as in
    `retrieval`. NaN where the prompt names no style.
    """

    word = "style"

    def __init__(
        self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 600, drawings: int = 3000
    ) -> None:
        check_modality(modality, (2, 3), "style")
        found = dataset.catalogue()
        if found is None or len(found.styles) < 2:
            raise RecipeError("evaluate.metrics: style needs data in several styles: data.styles")
        super().__init__(dataset, found, len(found.styles), steps, drawings)
        self.about = (
            f"share whose style, of {len(found.styles)}, a classifier trained on real pictures recognises"
        )

    def label(self, name: str) -> int | None:
        """The number of the style."""
        style = self.catalogue.style(name)
        return None if style is None else self.catalogue.styles.index(style)

    def seen(self, medium: Tensor, name: str) -> Tensor:
        """The picture, or the frame that counts: [3, H, W] on white."""
        picture = frame_at(medium, self.catalogue.moment(name))
        return picture.expand(3, -1, -1) if picture.shape[0] in (1, 3) else on_white(picture)

    def kept(self, picture: Tensor) -> Tensor:
        """In bytes."""
        return ((picture + 1) * 127.5).round().to(torch.uint8)

    def varied(self, pictures: Tensor, rng: torch.Generator) -> Tensor:
        """Shifted by a few pixels, half of them softened."""
        shift = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=rng).tolist()
        return _softened(pictures / 127.5 - 1, rng).roll(shift, (2, 3))


def _softened(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Half of [B, 3, H, W] a little blurred, all a little noisy: a style is no matter of the sharpest edges."""
    half = len(pictures) // 2
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    padded = F.pad(pictures[:half], (1, 1, 1, 1), mode="replicate")
    soft = torch.cat([F.conv2d(padded, kernel, groups=3), pictures[half:]])
    return soft + 0.03 * torch.randn(soft.shape, generator=rng)
