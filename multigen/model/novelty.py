"""How near media are to a model's training items, in the features that evaluations measure them with."""

from __future__ import annotations

import functools
import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen import registry
from multigen.core.noise import stream
from multigen.errors import MediaError, MultigenError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.model.build import build_dataset
from multigen.recipe.guards import Novelty
from multigen.recipe.schema import Recipe
from multigen.registry import Part

log = logging.getLogger(__name__)

# The features that a modality is measured with, where a recipe names none.
FEATURES = {"image": "efficientnet_lite0", "audio": "spectral", "video": "frames"}
_BATCH = 16


class Bank(NamedTuple):
    """Features [n, w] of training items, float64, their ids, and the distance below which a medium is too near."""

    features: Tensor
    ids: list[str]
    limit: float


class Closeness:
    """How near media are to training items; these are read, and their features computed, when it is first asked."""

    def __init__(self, recipe: Recipe, settings: Novelty, modality: Modality, device: torch.device) -> None:
        self.tries = settings.tries
        self._recipe, self._settings, self._modality, self._device = recipe, settings, modality, device

    @property
    def limit(self) -> float:
        """The distance below which a medium is too near."""
        return self._bank.limit

    @torch.no_grad()
    def nearest(self, medium: Media) -> tuple[str, float]:
        """The training item that is nearest, and its Euclidean distance."""
        own = medium.tensor
        if medium.modality is not self._modality:
            own = medium.modality.convert(own, self._modality)
        found = (self._bank.features - self._features([own])).norm(dim=1)
        place = int(found.argmin())
        return self._bank.ids[place], float(found[place])

    @functools.cached_property
    def _feature(self) -> Any:
        return registry.build(
            "feature",
            feature_part(self._recipe),
            where="evaluate.feature",
            given={"modality": self._modality},
        )

    def _features(self, media: list[Tensor]) -> Tensor:
        found = self._feature(torch.stack(media).clamp(-1, 1).to(self._device))
        return found.double().mean(1).cpu()

    @functools.cached_property
    def _bank(self) -> Bank:
        """MultigenError where the training items are not at hand, or are too few."""
        recipe, most = self._recipe, self._settings.bank
        dataset = build_dataset(recipe, self._modality)
        train = list(dataset.split()[0])
        train = train[:: -(-len(train) // most)] if len(train) > most else train
        log.info("%s: features of %d training items, for sample.novelty", recipe.name, len(train))
        rows, ids, waiting = list[Tensor](), list[str](), list[Tensor]()
        with torch.no_grad():
            for index in train:
                try:
                    item = dataset.draw(index, stream(recipe.seed, "bank", index))
                except MediaError:  # the dataset has said so
                    continue
                waiting.append(item["media"])
                ids.append(item["id"])
                if len(waiting) == _BATCH:
                    rows.append(self._features(waiting))
                    waiting = []
            rows += [self._features(waiting)] if waiting else []
        if len(ids) < 2:
            raise MultigenError(
                f"sample.novelty: {len(ids)} training items can be read; at least 2 are needed"
            )
        features = torch.cat(rows)
        return Bank(features, ids, self._limit(features))

    def _limit(self, features: Tensor) -> float:
        if self._settings.distance is not None:
            return self._settings.distance
        apart = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        own = apart.fill_diagonal_(torch.inf).min(1).values
        return float(own.quantile(self._settings.share))


def feature_part(recipe: Recipe) -> Part:
    """The feature that a recipe is measured with. RecipeError where its modality has none of its own."""
    part = recipe.evaluate.feature or Part(FEATURES.get(recipe.modality.name, ""))
    if not part.name:
        raise RecipeError(
            f"evaluate.feature: the modality {recipe.modality.name} has no default feature; name one"
        )
    return part


def closeness_of(recipe: Recipe, modality: Modality, device: torch.device) -> Closeness | None:
    """What watches for copies, if the recipe's `sample.novelty` asks for it."""
    settings = recipe.sample.novelty
    return None if settings is None else Closeness(recipe, settings, modality, device)
