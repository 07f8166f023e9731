"""What metrics by a small classifier have in common, which learns from real pictures whose captions say the answer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from multigen.core.noise import stream
from multigen.datasets import Catalogue, Dataset, Item
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.drawings import labelled
from multigen.evaluation.metrics.picture_classifier import Batch, accuracy, train_classifier

_BATCH = 64


class Judge(Metric):
    """Share of media that the classifier puts where the prompt asks; NaN where it asks for nothing of the kind.

    word      names the metric in messages, and keys what is drawn
    drawings  real pictures of training items from which it learns, in `steps` steps, when it is first asked

    Raises ValueError for numbers below 1.
    """

    word: ClassVar[str]
    better = "higher"
    reads = "prompt"

    def __init__(
        self, dataset: Dataset, catalogue: Catalogue, classes: int, steps: int, drawings: int
    ) -> None:
        for name, value in {"steps": steps, "drawings": drawings}.items():
            if value < 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 1 or more.")
        self.dataset, self.catalogue, self.classes = dataset, catalogue, classes
        self.steps, self.drawings = steps, drawings
        self._net: nn.Module | None = None

    @abstractmethod
    def label(self, name: str) -> int | None:
        """The class that an item's caption asks for, by its id."""

    @abstractmethod
    def seen(self, medium: Tensor, name: str) -> Tensor:
        """What the classifier sees of a medium [C, *D]: a picture [C', H, W]."""

    @abstractmethod
    def varied(self, pictures: Tensor, rng: torch.Generator) -> Tensor:
        """Pictures that were kept, [B, ...], as the classifier sees them in training, each a little other."""

    def kept(self, picture: Tensor) -> Tensor:
        """A picture of training as it is kept: thousands are."""
        return picture

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the classifier agrees with the prompt, 0 where it does not, NaN where nothing is asked for."""
        asked = [self.label(t.id) for t in targets]
        if all(one is None for one in asked):
            return Score.of([math.nan] * len(asked))
        if self._net is None:
            self._net = self._classifier()
        return accuracy(self._net, [self.seen(m, t.id) for m, t in zip(media, targets, strict=True)], asked)

    def _classifier(self) -> nn.Module:
        def label(item: Item) -> int | None:
            return self.label(item["id"])

        def picture(item: Item) -> Tensor:
            return self.kept(self.seen(item["media"], item["id"]))

        pictures, labels = labelled(self.dataset, label, picture, self.drawings, self.word)

        def batch(step: int) -> Batch:
            rng = stream(0, self.word, "batch", step)
            chosen = torch.randint(len(labels), (_BATCH,), generator=rng)
            return self.varied(pictures[chosen], rng), labels[chosen]

        return train_classifier(batch, self.classes, self.steps)
