"""Pictures of classes: does a classifier predict the requested class, and can one learn from samples alone?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.picture_classifier import Batch, accuracy, train_classifier
from multigen.modalities import Modality
from multigen.registry import Given


class Classifier(Metric):
    """Share of pictures for which a small network, trained on real training pictures, predicts the requested class.

    Its accuracy on real held-out pictures is the ceiling.
    """

    better = "higher"
    reads = "prompt"
    about = "share whose class a classifier trained on real pictures recognises"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 800) -> None:
        _check("classifier", modality, dataset, steps)
        self.dataset, self.steps = dataset, steps
        self._net: nn.Module | None = None

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 for a picture of the requested class, 0 otherwise, NaN without a class."""
        if self._net is None:
            self._net = train_classifier(_real(self.dataset), len(self.dataset.classes), self.steps)
        return accuracy(self._net, media, [t.label for t in targets])


class TrainedOnSamples(Metric):
    """Accuracy on real held-out pictures of a small network that was trained on the samples alone.

    The network cannot learn what the samples lack, such as a class or its variety. Real pictures used as samples are
    the ceiling; samples with the classes of other samples are the floor. A copy of the training set would score well:
    see the memorisation check.
    """

    better = "higher"
    reads = "prompt"
    about = "accuracy on real held-out pictures of a classifier trained on the samples alone"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 800) -> None:
        _check("trained_on_samples", modality, dataset, steps)
        self.dataset, self.steps = dataset, steps

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """One score for the whole set; its values are those of the held-out pictures."""
        pairs = [(m, t.label) for m, t in zip(media, targets, strict=True) if t.label is not None]
        if not pairs:
            return Score(math.nan, math.nan)
        pictures, labels = torch.stack([m for m, _ in pairs]), torch.tensor([k for _, k in pairs])

        def batch(step: int) -> Batch:
            rng = stream(0, "samples", step)
            chosen = torch.randint(len(labels), (64,), generator=rng)
            # Shifted by up to 2 pixels, since samples need not be centred like the held-out pictures.
            shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
            return pictures[chosen].roll(shift, (2, 3)), labels[chosen]

        net = train_classifier(batch, len(self.dataset.classes), self.steps)
        items = [self.dataset[i] for i in self.dataset.split()[1]]
        return accuracy(net, [i["media"] for i in items], [i.get("label") for i in items])


def _real(dataset: Dataset) -> Callable[[int], Batch]:
    train = list(dataset.split()[0])

    def batch(step: int) -> Batch:
        rng = stream(0, "real", step)
        items = [dataset.draw(train[int(k)], rng) for k in torch.randint(len(train), (64,), generator=rng)]
        return torch.stack([i["media"] for i in items]), torch.tensor(
            [i["label"] for i in items if "label" in i]
        )

    return batch


def _check(name: str, modality: Modality, dataset: Dataset, steps: int) -> None:
    check_modality(modality, (2,), name)
    if len(dataset.classes) < 2:
        raise RecipeError(f"evaluate.metrics: {name} needs a dataset with two or more classes")
    if steps < 1:
        raise ValueError(f"steps: {steps} is not allowed. Allowed: 1 or more.")
