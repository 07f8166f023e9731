"""Is the picture drawn in the style that the prompt names?"""

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
from multigen.evaluation.metrics.cut_out import frame_at, on_white
from multigen.evaluation.metrics.drawings import labelled
from multigen.evaluation.metrics.picture_classifier import Batch, accuracy, train_classifier
from multigen.modalities import Modality
from multigen.registry import Given

_BATCH = 64
_SHIFT = 3  # px


class Style(Metric):
    """Share of media whose style, of those that captions can name, a small classifier recognises.

    It learns from `drawings` real pictures of training items, as training draws them, in `steps` steps. Its accuracy
    on real pictures is the ceiling: for captions of training on drawings that it has learnt from, drawn anew; for new
    combinations of a thing and a style on drawings that it has never seen. Of a video one frame counts, as in
    `retrieval`. NaN where the prompt names no style.
    """

    better = "higher"
    reads = "prompt"

    def __init__(
        self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 600, drawings: int = 3000
    ) -> None:
        check_modality(modality, (2, 3), "style")
        found = dataset.catalogue()
        if found is None or len(found.styles) < 2:
            raise RecipeError("evaluate.metrics: style needs data in several styles: data.styles")
        for name, value in {"steps": steps, "drawings": drawings}.items():
            if value < 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 1 or more.")
        self.dataset, self.catalogue = dataset, found
        self.steps, self.drawings = steps, drawings
        self.about = (
            f"share whose style, of {len(found.styles)}, a classifier trained on real pictures recognises"
        )
        self._net: nn.Module | None = None

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the style is recognised, 0 where it is not, NaN where none is asked for."""
        asked = [self._style(t.id) for t in targets]
        if all(one is None for one in asked):
            return Score.of([math.nan] * len(asked))
        if self._net is None:
            self._net = self._classifier()
        return accuracy(self._net, [self._seen(m, t.id) for m, t in zip(media, targets, strict=True)], asked)

    def _style(self, name: str) -> int | None:
        style = self.catalogue.style(name)
        return None if style is None else self.catalogue.styles.index(style)

    def _seen(self, medium: Tensor, name: str) -> Tensor:
        """What the classifier sees of a medium: [3, H, W] on white."""
        picture = frame_at(medium, self.catalogue.moment(name))
        return picture.expand(3, -1, -1) if picture.shape[0] in (1, 3) else on_white(picture)

    def _classifier(self) -> nn.Module:
        def picture(item: Item) -> Tensor:
            return ((self._seen(item["media"], item["id"]) + 1) * 127.5).round().to(torch.uint8)

        def label(item: Item) -> int | None:
            return self._style(item["id"])

        pictures, labels = labelled(self.dataset, label, picture, self.drawings, "style")

        def batch(step: int) -> Batch:
            rng = stream(0, "style", "batch", step)
            chosen = torch.randint(len(labels), (_BATCH,), generator=rng)
            shift = torch.randint(-_SHIFT, _SHIFT + 1, (2,), generator=rng).tolist()
            return _softened(pictures[chosen] / 127.5 - 1, rng).roll(shift, (2, 3)), labels[chosen]

        return train_classifier(batch, len(self.catalogue.styles), self.steps)


def _softened(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Half of [B, 3, H, W] a little blurred, all a little noisy: a style is no matter of the sharpest edges."""
    half = len(pictures) // 2
    row = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (row[:, None] * row).expand(3, 1, 3, 3)
    padded = F.pad(pictures[:half], (1, 1, 1, 1), mode="replicate")
    soft = torch.cat([F.conv2d(padded, kernel, groups=3), pictures[half:]])
    return soft + 0.03 * torch.randn(soft.shape, generator=rng)
