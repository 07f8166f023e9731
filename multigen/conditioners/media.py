"""Condition on a medium of any kind: a video on a sound, a sound on a video, a picture on a sketch or a first frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from multigen.conditioners import Conditioner, Extent, Impure
from multigen.conditioners.prompts import no_prompt
from multigen.conditioners.shown import COLUMN, Shown
from multigen.conditioners.text import Text
from multigen.core.conditioning import Cond, CondSpec
from multigen.modalities import Modality
from multigen.modalities.media import Media
from multigen.options import CONDITIONERS, PURIFY_CONDITION, Option
from multigen.registry import Given


class _Following(Conditioner):
    """What conditioners that follow a medium share: the options `condition` and `purify_condition`."""

    shown: Shown

    def opened(self, options: Mapping[str, Any], media: tuple[int, ...] | None = None) -> Mapping[str, Any]:
        """The options with the medium of `condition`, as large as the model is told of it."""
        return {**options, COLUMN: self.shown.opened(options.get(COLUMN), media)}

    def impure(self, options: Mapping[str, Any]) -> Impure | None:
        """The condition and the level of `purify_condition`."""
        level, medium = options.get(PURIFY_CONDITION), self.shown.read(options.get(COLUMN))
        return None if level is None or medium is None else Impure(medium, float(level))

    def with_pure(self, options: Mapping[str, Any], pure: Media) -> Mapping[str, Any]:
        """The options with the purified condition; the file that it came from stays its source."""
        return {**options, COLUMN: self.shown.replaced(options.get(COLUMN), pure)}

    def asked(self, prompts: Sequence[str], options: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a batch of the prompts whose condition is that of the request."""
        return {**self.from_prompts(prompts), COLUMN: [self.shown.read(options.get(COLUMN))] * len(prompts)}

    def extent(self, prompt: str, options: Mapping[str, Any]) -> Extent | None:
        """A sound for a video is as long as that, and a video for a sound."""
        return self.shown.extent(options.get(COLUMN))

    def writes(self, modality: Modality, options: Mapping[str, Any]) -> Modality:
        """The model's modality, with the condition in the same file where that can be."""
        return self.shown.together(modality, options.get(COLUMN))


class FromMedia(_Following):
    """A medium of another kind, or of the same: what it is as a whole, and what is where and when in it.

    Features that run along time, or lie in a picture, are put into the places of what is made: by seconds, and by the
    share of width and height. An item says its `condition`, a request has the option `condition`: a file, or a medium.
    Without one the model makes something of its own.

    source   the modality of the condition, {name: video, size: 32, fps: 8}
    extract  extractors of its features, [{name: thing}, {name: frames, features: 16}]
    pooled   give the features' averages as a vector, too
    pixels   how many neighbouring pixels along each side become channels: the `unshuffle` of the codec

    RecipeError for a part that is wrong.
    """

    device_of: Tensor

    def __init__(
        self,
        *,
        modality: Given[Modality],
        source: dict[str, Any],
        extract: tuple[dict[str, Any], ...],
        pooled: bool = True,
        pixels: int = 1,
    ) -> None:
        super().__init__()
        self.shown, self.pooled = Shown(modality, source, extract, pixels), pooled
        self.spec = CondSpec(vector=self.shown.pooled if pooled else 0, grid=self.shown.width)
        self.register_buffer("device_of", torch.zeros(()), persistent=False)

    @classmethod
    def declares(cls, args: Mapping[str, Any]) -> tuple[Option, ...]:
        """The options `condition` and `purify_condition`."""
        return CONDITIONERS["media"](args)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["condition"]: B media, or None -> vector [B, K], zeros without a condition."""
        if not self.pooled:
            return Cond()
        return Cond(vector=self.shown.vector(batch[COLUMN], self.device_of.device))

    def null(self, batch_size: int) -> Cond:
        """Return zeros, [B, K]: nothing is said."""
        zeros = torch.zeros(batch_size, self.shown.pooled, device=self.device_of.device)
        return Cond(vector=zeros) if self.pooled else Cond()

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return a batch without conditions. MultigenError for a prompt, which would be ignored."""
        no_prompt(prompts)
        return {COLUMN: [None] * len(prompts)}

    def along(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Tensor | None:
        """batch["condition"]: B media, or None -> [B, spec.grid, *size].

        Of an edit, too: what a condition shows is known of every place.
        """
        return self.shown.along(batch[COLUMN], media, size, self.device_of.device) if self.spec.grid else None


class MediaText(_Following, Text):
    """Text, as `text` has it, together with a medium, as `media` has it.

    `source`, `extract`, `pooled` and `pixels` are those of `media`; `path`, `tokens` and `max_tokens` those of `text`,
    whose pooled vector the network always gets. RecipeError and ValueError as there.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        source: dict[str, Any],
        extract: tuple[dict[str, Any], ...],
        pooled: bool = False,
        pixels: int = 1,
        path: str | None = None,
        tokens: bool = True,
        max_tokens: int = 48,
    ) -> None:
        super().__init__(path=path, tokens=tokens, pooled=True, max_tokens=max_tokens)
        self.shown, self.shows = Shown(modality, source, extract, pixels), pooled
        more = self.shown.pooled if pooled else 0
        self.spec = CondSpec(self.spec.vector + more, self.spec.tokens, self.shown.width)

    @classmethod
    def declares(cls, args: Mapping[str, Any]) -> tuple[Option, ...]:
        """The options `condition` and `purify_condition`."""
        return CONDITIONERS["media_text"](args)

    def forward(self, batch: Mapping[str, Any]) -> Cond:
        """batch["text"]: B captions, batch["condition"]: B media -> tokens, mask and vector [B, K]."""
        cond = super().forward(batch)
        return self._joined(cond, batch.get(COLUMN))

    def null(self, batch_size: int) -> Cond:
        """Return the condition of the empty prompt and of no medium, [B, ...]."""
        return self({"text": [""]}).expand(batch_size)

    def from_prompts(self, prompts: Sequence[str]) -> Mapping[str, Any]:
        """Return {"text": prompts}, without conditions."""
        return {**super().from_prompts(prompts), COLUMN: [None] * len(prompts)}

    def along(
        self,
        batch: Mapping[str, Any],
        media: tuple[int, ...],
        size: Sequence[int],
        made: Tensor | None = None,
    ) -> Tensor | None:
        """batch["condition"]: B media, or None -> [B, spec.grid, *size]."""
        if not self.spec.grid:
            return None
        conditions = batch.get(COLUMN) or [None] * len(batch["text"])
        return self.shown.along(conditions, media, size, self.device_of.device)

    def _joined(self, cond: Cond, conditions: Sequence[Any] | None) -> Cond:
        if not self.shows or cond.vector is None:
            return cond
        shown = self.shown.vector(conditions or [None] * len(cond.vector), self.device_of.device)
        vector = torch.cat([cond.vector, shown.to(cond.vector)], 1)
        return Cond(vector=vector, tokens=cond.tokens, mask=cond.mask)
