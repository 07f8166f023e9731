"""Is the requested object in the picture? Retrieval among all objects that the dataset can name."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Catalogue, Dataset, Item
from multigen.errors import RecipeError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.metrics import Metric, Score, Target
from multigen.evaluation.metrics.cut_out import cut_out, frame_at
from multigen.evaluation.reference import reference
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.registry import Given, Part


class Retrieval(Metric):
    """Share of media whose object is among the `top` most similar of all objects that the dataset can name.

    Similarity is the cosine between features, each less the mean over all objects, with the nearest of the pictures
    that the catalogue has of an object. The object is cut out first, so that size and place do not matter. Of a video
    one frame counts: the middle one, unless the catalogue says that the object is seen best at another moment.
    """

    better = "higher"
    reads = "prompt"

    def __init__(
        self,
        *,
        modality: Given[Modality],
        dataset: Given[Dataset],
        top: int = 5,
        feature: str = "efficientnet_lite0",
    ) -> None:
        self.catalogue = _catalogue(dataset)
        if not 1 <= top < len(self.catalogue.names):
            raise ValueError(
                f"top: {top} is not allowed. Allowed: 1 to {len(self.catalogue.names) - 1}, one below the number "
                "of objects"
            )
        self.top = top
        self.about = f"the requested object is among the {top} most similar of {len(self.catalogue.names)}"
        self.picture = Image(size=96)
        self.feature: Feature = registry.build("feature", Part(feature), given={"modality": self.picture})
        self._bank: tuple[Tensor, Tensor] | None = None
        self._mean = torch.zeros(())

    def __call__(self, media: Sequence[Tensor], targets: Sequence[Target]) -> Score:
        """1 where the object is found, 0 where it is not, NaN where the target is unknown."""
        objects = [self.catalogue.find(t.id) for t in targets]
        if all(o is None for o in objects):
            return Score.of([math.nan] * len(objects))
        frames = [frame_at(m, self.catalogue.moment(t.id)) for m, t in zip(media, targets, strict=True)]
        ranks = self.ranks(frames, objects)
        return Score.of([math.nan if r is None else float(r < self.top) for r in ranks])

    def ranks(self, pictures: Sequence[Tensor], objects: Sequence[int | None]) -> list[int | None]:
        """For each picture [C, H, W], how many objects are more similar than the requested one; None if unknown."""
        bank, owner = self._features_of_objects()
        features = self._embed(pictures)
        similarity = features @ bank.T
        best = torch.full((len(pictures), len(self.catalogue.names)), -math.inf)
        best.scatter_reduce_(1, owner.expand(len(pictures), -1), similarity, "amax")
        return [
            None if one is None else int((row > row[one]).sum())
            for row, one in zip(best, objects, strict=True)
        ]

    def _features_of_objects(self) -> tuple[Tensor, Tensor]:
        """Unit features [p, w] of every picture of the catalogue, and the object that each shows [p]."""
        if self._bank is None:
            bank = _Pictures(self.catalogue)
            found = reference(
                self.feature, bank, range(len(bank)), modality=self.picture, name="objects, cut out"
            )
            raw = found.features.mean(1)
            self._mean = raw.mean(0)
            self._bank = _unit(raw - self._mean), torch.tensor(bank.owner)
        return self._bank

    def _embed(self, pictures: Sequence[Tensor]) -> Tensor:
        return _unit(extract(self.feature, [cut_out(p) for p in pictures]).mean(1) - self._mean)


class _Pictures:
    """Every picture of a catalogue, cut out, drawn when it is asked for: there may be thousands.

    owner  the object that each picture shows
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._places = [
            (thing, k) for thing in range(len(catalogue.names)) for k in range(len(catalogue.pictures(thing)))
        ]
        self.owner = [thing for thing, _ in self._places]
        self._last: tuple[int, list[Tensor]] = (-1, [])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Item:
        thing, k = self._places[index]
        if self._last[0] != thing:
            self._last = thing, self._catalogue.pictures(thing)
        return {"media": cut_out(self._last[1][k]), "id": self._catalogue.names[thing]}


def _catalogue(dataset: Dataset) -> Catalogue:
    """The dataset's catalogue. RecipeError if it has none."""
    found = dataset.catalogue()
    if found is None:
        raise RecipeError(
            "evaluate.metrics: retrieval needs a dataset that can name its objects: emoji or moving_emoji"
        )
    return found


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)
