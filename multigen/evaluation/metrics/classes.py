"""Pictures of classes: does a classifier see the asked one, and can one learn real pictures from samples alone?"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.metrics import Score, Wanted
from multigen.modalities import Modality
from multigen.registry import Given


class Classifier:
    """Share of pictures on which a small network, trained on real training pictures, sees the asked class.

    Its accuracy on real held-out pictures is the ceiling.
    """

    better = "higher"
    reads = "prompt"
    about = "the asked class is seen by a classifier trained on real pictures"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 800) -> None:
        _check(modality, dataset, steps)
        self.dataset, self.steps = dataset, steps
        self._net: nn.Module | None = None

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """1 where it is right, 0 where not, NaN without a class."""
        if self._net is None:
            self._net = trained(_real(self.dataset), len(self.dataset.classes), self.steps)
        return accuracy(self._net, media, [w.label for w in wanted])


class TrainedOnSamples:
    """Accuracy on real held-out pictures of a small network that was trained on the samples alone.

    What the samples lack (a class, its variety), it cannot know. Real pictures as samples are the ceiling; the samples
    with the classes of others the floor. A copy of the training set would win it: see the memorisation check.
    """

    better = "higher"
    reads = "prompt"
    about = "real held-out pictures by a classifier trained on the samples alone"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], steps: int = 800) -> None:
        _check(modality, dataset, steps)
        self.dataset, self.steps = dataset, steps

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """One value for the whole set: values are those of the held-out pictures."""
        pairs = [(m, w.label) for m, w in zip(media, wanted, strict=True) if w.label is not None]
        if not pairs:
            return Score(math.nan, math.nan)
        pictures, labels = torch.stack([m for m, _ in pairs]), torch.tensor([k for _, k in pairs])

        def batch(step: int) -> tuple[Tensor, Tensor]:
            rng = stream(0, "samples", step)
            chosen = torch.randint(len(labels), (64,), generator=rng)
            # Shifts by up to 2 pixels: the held-out pictures are not better centred than the samples.
            shift = torch.randint(-2, 3, (2,), generator=rng).tolist()
            return pictures[chosen].roll(shift, (2, 3)), labels[chosen]

        net = trained(batch, len(self.dataset.classes), self.steps)
        items = [self.dataset[i] for i in self.dataset.split()[1]]
        return accuracy(net, [i["media"] for i in items], [i.get("label") for i in items])


def trained(batch: Callable[[int], tuple[Tensor, Tensor]], classes: int, steps: int) -> nn.Module:
    """A small network after `steps` batches of (pictures [B, C, H, W] in [-1, 1], labels [B]); keyed, so repeatable."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = _network(batch(0)[0].shape[1], classes)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for step in range(steps):
        pictures, labels = batch(step)
        loss = F.cross_entropy(net(pictures), labels, label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def _network(channels: int, classes: int) -> nn.Module:
    def stage(width_in: int, width_out: int) -> list[nn.Module]:
        return [
            nn.Conv2d(width_in, width_out, 3, padding=1),
            nn.GroupNorm(4, width_out),
            nn.SiLU(),
            nn.Conv2d(width_out, width_out, 3, stride=2, padding=1),
            nn.GroupNorm(4, width_out),
            nn.SiLU(),
        ]

    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64 * 4, classes)]
    return nn.Sequential(*stage(channels, 16), *stage(16, 32), *stage(32, 64), *head)


def _real(dataset: Dataset) -> Callable[[int], tuple[Tensor, Tensor]]:
    train = list(dataset.split()[0])

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rng = stream(0, "real", step)
        items = [dataset.draw(train[int(k)], rng) for k in torch.randint(len(train), (64,), generator=rng)]
        return torch.stack([i["media"] for i in items]), torch.tensor(
            [i["label"] for i in items if "label" in i]
        )

    return batch


@torch.no_grad()
def accuracy(net: nn.Module, media: Sequence[Tensor], labels: Sequence[int | None]) -> Score:
    """1 where the network sees the label of a picture [C, H, W], 0 where not, NaN without a label."""
    seen = torch.cat(
        [net(torch.stack(list(media[k : k + 256]))).argmax(1) for k in range(0, len(media), 256)]
    )
    return Score.of(
        [math.nan if a is None else float(a == s) for a, s in zip(labels, seen.tolist(), strict=True)]
    )


def _check(modality: Modality, dataset: Dataset, steps: int) -> None:
    if modality.name != "image":
        raise RecipeError(f"evaluate.metrics: classifiers take pictures; the modality is {modality.name}")
    if len(dataset.classes) < 2:
        raise RecipeError("evaluate.metrics: classifiers need a dataset with two classes or more")
    if steps < 1:
        raise ValueError(f"steps: {steps} is not allowed. Allowed: 1 or more.")
