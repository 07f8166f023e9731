"""How different are the pictures that one prompt gives with different seeds?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Dataset
from multigen.errors import RecipeError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.checks import check_modality
from multigen.evaluation.metrics.cut_out import cut_out
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.registry import Given, Part


class Variety(Metric):
    """Mean distance between the features of one prompt's pictures, over that between the real pictures of the thing.

    For prompts that leave the style open and are asked for with several seeds. Objects are cut out first, so that size
    and place do not count: 0 for one picture again and again, 1 where the pictures of a prompt differ as much as the
    training pictures of its thing do, each style once. Real pictures drawn at random, as training draws them, repeat
    styles; their value is the ceiling. Distances are Euclidean; the values are those of the prompts.
    """

    better = "higher"
    reads = "seeds"
    about = "distance between one prompt's pictures, over that between the real pictures of its thing"

    def __init__(
        self, *, modality: Given[Modality], dataset: Given[Dataset], feature: str = "efficientnet_lite0"
    ) -> None:
        check_modality(modality, (2,), "variety")
        found = dataset.catalogue()
        if found is None or not any(kind.each > 1 for kind in found.kinds.values()):
            raise RecipeError(
                "evaluate.metrics: variety needs captions that may leave the style out: data.unstyled"
            )
        self.dataset, self.catalogue = dataset, found
        self.kinds = [kind for kind in found.kinds.values() if kind.each > 1]
        self.least = min(kind.each for kind in self.kinds)
        self.feature: Feature = registry.build("feature", Part(feature), given={"modality": Image(size=96)})
        self._real: dict[int, float] = {}  # thing -> distance between its real pictures

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """For each prompt with as many media as are asked for, the distance between them over the mean real one."""
        groups: dict[str, list[int]] = {}
        for k, target in enumerate(targets):
            if any(kind.holds(target.id) for kind in self.kinds):
                groups.setdefault(target.prompt, []).append(k)
        made: list[float] = []
        real: list[float] = []
        for places in groups.values():
            thing = self.catalogue.find(targets[places[0]].id)
            if len(places) < self.least or thing is None or math.isnan(own := self._between_real(thing)):
                continue
            made.append(self._between([media[k] for k in places]))
            real.append(own)
        if not real or not any(real):
            return Score.of([math.nan])
        return Score.of(torch.tensor(made) * len(real) / sum(real))

    def _between_real(self, thing: int) -> float:
        if thing not in self._real:
            shown = [self.dataset[k]["media"] for k in self.catalogue.items(thing)]
            self._real[thing] = self._between(shown) if len(shown) > 1 else math.nan
        return self._real[thing]

    def _between(self, pictures: Sequence[Tensor]) -> float:
        """Mean Euclidean distance between the features of two or more pictures, cut out."""
        features = extract(self.feature, [cut_out(p) for p in pictures]).mean(1).double()
        return float(torch.pdist(features).mean())
