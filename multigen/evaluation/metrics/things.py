"""Is the thing that the prompt names in the picture? Retrieval among all that the dataset can name; colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from multigen import registry
from multigen.datasets import Catalogue, Dataset
from multigen.datasets.colours import HUES, hue_of
from multigen.errors import RecipeError
from multigen.evaluation.features import Feature, extract
from multigen.evaluation.metrics import Score, Wanted
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.registry import Given, Part


class Retrieval:
    """Share of media whose thing is among the `top` most similar of all things that the dataset can name.

    Similarity is the cosine of features, each less the mean over all things, with the nearest of the pictures that
    the catalogue has of a thing. Of a video the middle frame is looked at. The thing in the middle is cut out first,
    so that size and place do not count.
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
        self.catalogue = catalogue(dataset, "retrieval")
        if not 1 <= top < len(self.catalogue.names):
            raise ValueError(
                f"top: {top} is not allowed. Allowed: 1 to below the {len(self.catalogue.names)} things"
            )
        self.top = top
        self.about = f"the asked thing is among the {top} most similar of {len(self.catalogue.names)}"
        picture = Image(size=96)
        self.feature: Feature = registry.build("feature", Part(feature), given={"modality": picture})
        self._bank: tuple[Tensor, Tensor] | None = None
        self._mean = torch.zeros(())

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """1 where the thing was found, 0 where not, NaN where the prompt names none."""
        asked = [self.catalogue.find(w.id) for w in wanted]
        if all(a is None for a in asked):
            return Score.of([math.nan] * len(asked))
        ranks = self.ranks(media, asked)
        return Score.of([math.nan if r is None else float(r < self.top) for r in ranks])

    def ranks(self, media: Sequence[Tensor], asked: Sequence[int | None]) -> list[int | None]:
        """How many things are more similar than the asked one, for each medium."""
        bank, owner = self._things()
        features = self._embed([middle(m) for m in media])
        similarity = features @ bank.T
        best = torch.full((len(media), len(self.catalogue.names)), -math.inf)
        best.scatter_reduce_(1, owner.expand(len(media), -1), similarity, "amax")
        return [
            None if thing is None else int((row > row[thing]).sum())
            for row, thing in zip(best, asked, strict=True)
        ]

    def _things(self) -> tuple[Tensor, Tensor]:
        """Unit features [p, w] of every picture of the catalogue, and whose picture it is [p]."""
        if self._bank is None:
            owner: list[int] = []
            raw = extract(self.feature, self._pictures(owner)).mean(1)
            self._mean = raw.mean(0)
            self._bank = _unit(raw - self._mean), torch.tensor(owner)
        return self._bank

    def _pictures(self, owner: list[int]) -> Iterator[Tensor]:
        """Every picture of the catalogue, cut out, one after the other: there may be thousands. Notes whose each is."""
        for k in range(len(self.catalogue.names)):
            for picture in self.catalogue.pictures(k):
                owner.append(k)
                yield cut_out(picture)

    def _embed(self, pictures: Sequence[Tensor]) -> Tensor:
        return _unit(extract(self.feature, [cut_out(p) for p in pictures]).mean(1) - self._mean)


class Hue:
    """Share of media whose main hue lies within `within` degrees of the colour that the prompt says.

    The mean hue of all that is not white, weighted by saturation and value. Of a video the middle frame is looked at.
    """

    better = "higher"
    reads = "prompt"

    def __init__(self, *, modality: Given[Modality], dataset: Given[Dataset], within: float = 30.0) -> None:
        if modality.name not in ("image", "video") or modality.shape()[0] not in (3, 4):
            raise RecipeError("evaluate.metrics: hue takes pictures or videos in colour")
        if not 0 < within < 180:
            raise ValueError(f"within: {within} is not allowed. Allowed: above 0, below 180 degrees")
        self.within = within
        self.about = f"the colour that the prompt says, within {within:g} degrees of hue"

    def __call__(self, media: Sequence[Tensor], wanted: Sequence[Wanted]) -> Score:
        """1 where the hue is right, 0 where it is not or there is none, NaN where no colour was asked for."""
        values = []
        for medium, want in zip(media, wanted, strict=True):
            said = next((w for w in (want.id or want.prompt).split() if w in HUES), None)
            if said is None:
                values.append(math.nan)
                continue
            seen = hue_of(middle(medium))
            near = seen is not None and abs((seen - HUES[said] + 180) % 360 - 180) <= self.within
            values.append(float(near))
        return Score.of(values)


def catalogue(dataset: Dataset, who: str) -> Catalogue:
    """The dataset's catalogue of things. RecipeError if it has none."""
    make = getattr(dataset, "catalogue", None)
    if make is None:
        raise RecipeError(
            f"evaluate.metrics: {who} needs a dataset that can name its things: emoji or moving_emoji"
        )
    return make()


def middle(media: Tensor) -> Tensor:
    """A picture [C, H, W] of an image, or the middle frame of a video [C, T, H, W]."""
    return media if media.ndim == 3 else media[:, media.shape[1] // 2]


def ink(picture: Tensor) -> Tensor:
    """How far each pixel is from white, [H, W] in [0, 1]; what noise alone reaches counts 0."""
    return ((1 - picture[:3]).amax(0) / 2 - 0.12).clamp(0, 1)


def cut_out(picture: Tensor, side: int = 96) -> Tensor:
    """The thing on white, cut to its box with a margin and resized: [3, side, side]. The whole picture if empty."""
    colour = picture[:3].expand(3, -1, -1) if picture.shape[0] in (1, 3) else on_white(picture)
    weight = ink(colour)
    total = float(weight.sum())
    if total > 0:
        y, x = (_middle(weight.sum(1)), _middle(weight.sum(0)))
        radius = 0.5 + 1.12 * max(_reach(weight.sum(1), y), _reach(weight.sum(0), x))
    else:
        y, x = picture.shape[-2] / 2 - 0.5, picture.shape[-1] / 2 - 0.5
        radius = max(picture.shape[-2:]) / 2
    grid = torch.linspace(-radius, radius, side)
    rows = (y + grid + 0.5) / picture.shape[-2] * 2 - 1
    columns = (x + grid + 0.5) / picture.shape[-1] * 2 - 1
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flip(-1)[None]
    white = 1 - colour[None].float()  # so that what lies outside becomes white
    return 1 - torch.nn.functional.grid_sample(white, place, align_corners=False)[0]


def on_white(picture: Tensor) -> Tensor:
    """[4, H, W] with alpha last -> [3, H, W] over white."""
    alpha = (picture[3:] + 1) / 2
    return (picture[:3] + 1) * alpha + 2 * (1 - alpha) - 1


def _middle(weight: Tensor) -> float:
    return float((weight * torch.arange(len(weight))).sum() / weight.sum())


def _reach(weight: Tensor, centre: float) -> float:
    """From the centre to beyond which 1% of the weight lies on the farther side."""
    place = torch.arange(len(weight))
    distance = (place - centre).abs()
    order = distance.argsort()
    share = weight[order].cumsum(0) / weight.sum()
    return float(distance[order][int((share < 0.98).sum().clamp_max(len(weight) - 1))])


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=-1)
