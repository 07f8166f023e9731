"""Media that are their own condition: a video and its first frame, a picture and itself, of which edges are shown."""

from __future__ import annotations

from typing import Any, Literal

import torch

from multigen import registry
from multigen.datasets import Item
from multigen.datasets.wrapped import Wrapped
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.modalities.image import Image
from multigen.modalities.media import Media
from multigen.modalities.video import Video
from multigen.registry import Given, Part


class Conditioned(Wrapped):
    """The items of another dataset, each with a `condition` that is taken from its own medium.

    of    the dataset, {name: moving_emoji, count: 100}
    take  "first" or "last": that frame of a video; "all": the medium itself, for extractors that show less than all of
          it, such as edges

    RecipeError for another dataset's wrong arguments, and for frames of media that have none.
    """

    def __init__(
        self, *, modality: Given[Modality], of: dict[str, Any], take: Literal["all", "first", "last"] = "all"
    ) -> None:
        rest = dict(of)
        name = rest.pop("name", None)
        if not isinstance(name, str):
            raise RecipeError("data.of: it names no dataset. Allowed: {name: moving_emoji, ...}.")
        super().__init__(
            registry.build("dataset", Part(name, rest), where="data.of", given={"modality": modality})
        )
        if take != "all" and not isinstance(modality, Video):
            raise RecipeError(
                f"data.take: {take} is not allowed. Allowed: all; a {modality.name} has no frames."
            )
        self.modality, self.take = modality, take
        height, width = modality.shape()[-2:] if isinstance(modality, Video) else (1, 1)
        self._still = Image(size=(height, width)) if take != "all" else modality

    def __getitem__(self, index: int) -> Item:
        return self._with(self.whole[index])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item as the dataset draws it, and what is taken of it."""
        return self._with(self.whole.draw(index, rng))

    def _with(self, item: Item) -> Item:
        media = item["media"]
        if self.take != "all":
            media = media[:, 0 if self.take == "first" else -1]
            media = media.expand(3, *media.shape[1:]) if len(media) == 1 else media
        return Item(**{**item, "condition": Media(media, self._still)})
