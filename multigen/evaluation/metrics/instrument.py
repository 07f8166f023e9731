"""Sounds of instruments: is it the instrument that the prompt names?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.features import extract
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.modalities import Modality
from multigen.registry import Given, Part


class Instrument(Metric):
    """Share of sounds that a small classifier, trained on other renders, assigns to the requested instrument.

    A linear classifier on standardised spectral descriptors of up to `items` training items, two crops of each. Its
    accuracy on held-out renders is the ceiling.
    """

    better = "higher"
    reads = "prompt"
    about = "share whose instrument a classifier trained on other renders recognises"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], items: int = 240) -> None:
        check_modality(modality, (1,), "instrument")
        if items < 2:
            raise ValueError(f"items: {items} is not allowed. Allowed: 2 or more.")
        self.dataset, self.items = dataset, items
        self.feature = registry.build("feature", Part("spectral"), given={"modality": modality})
        self.names = dataset.instruments
        if len(self.names) < 2:
            raise RecipeError("evaluate.metrics: instrument needs a dataset with two or more instruments")
        self._fitted: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the instrument is recognised, 0 where it is not, NaN where the prompt names none."""
        wanted = [self.named(t.prompt) for t in targets]
        mean, scale, weight, bias = self._classifier()
        x = (_summary(extract(self.feature, media)) - mean) / scale
        predicted = (x @ weight + bias).argmax(1).tolist()
        pairs = zip(wanted, predicted, strict=True)
        return Score.of([math.nan if w is None else float(w == p) for w, p in pairs])

    def named(self, prompt: str) -> int | None:
        """The instrument that a prompt names, None if there is none; the longest name if one contains another."""
        found = [k for k, name in enumerate(self.names) if re.search(rf"\b{re.escape(name)}\b", prompt)]
        return max(found, key=lambda k: len(self.names[k]), default=None)

    def _classifier(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        if self._fitted is None:
            train, _ = self.dataset.split()
            indices = list(train)[:: max(1, len(train) // self.items)][: self.items]
            drawn = [self.dataset.draw(i, stream(0, "instrument", i, k)) for i in indices for k in range(2)]
            known = [(d["media"], self.named(d.get("text", "") + " " + d["id"])) for d in drawn]
            pairs = [(m, a) for m, a in known if a is not None]
            x = _summary(extract(self.feature, (m for m, _ in pairs)))
            self._fitted = _logistic(x, torch.tensor([a for _, a in pairs]), len(self.names))
        return self._fitted


def _summary(features: Tensor) -> Tensor:
    """Mean over a sound's windows: [n, K, w] -> [n, w]."""
    return features.mean(1)


def _logistic(x: Tensor, label: Tensor, classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Multinomial logistic regression with a ridge penalty: mean and scale of the inputs, weights, bias."""
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    z = (x - mean) / scale
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(z @ weight + bias, label) + 1e-2 * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return mean, scale, weight.detach(), bias.detach()
