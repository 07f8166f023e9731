"""Stable Diffusion XL (Podell et al. 2023, arXiv:2307.01952)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.families.family import CLIP_TOKENIZER, States, Stream
from multigen.families.unet import UNET, UNetFamily
from multigen.storage.diffusers_folder import Component

IDS = 6  # numbers of size and crop; a refiner has one less


class StableDiffusionXL(UNetFamily):
    """Stable Diffusion XL: two text encoders, their states side by side; size and crop as ids (section 2.2).

    The original and the target size are that of what is made, the crop is at its corner; `conditioner.numbers` sets
    others: {original_size: [height, width], crop: [top, left]}. The refiner has the second encoder alone, and is told
    how beautiful the picture is in place of the target size: {aesthetic: 6.0, negative_aesthetic: 2.5}.
    """

    title = "Stable Diffusion XL"
    components: ClassVar[Mapping[str, Component]] = {
        **UNET,
        "text_encoder": Component(
            "transformers", ("CLIPTextModel", "CLIPTextModelWithProjection"), optional=True
        ),
        "tokenizer": Component("transformers", CLIP_TOKENIZER.classes, optional=True),
        "text_encoder_2": Component("transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer_2": CLIP_TOKENIZER,
    }
    scale = 5.0
    embeds = "text_time"

    @property
    def refines(self) -> bool:
        """Whether it is a refiner, which is told a score."""
        return bool(self.index("requires_aesthetics_score", False))

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The states before the last of CLIP L, which a refiner lacks, and of OpenCLIP G."""
        first = Stream("tokenizer", "text_encoder", layer=-2, chunks=True)
        second = Stream("tokenizer_2", "text_encoder_2", layer=-2, pooled="text_embeds", chunks=True)
        return (second,) if self.listed["text_encoder"] is None else (first, second)

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """Size and crop: 0 for the size of what is made; of a refiner the scores."""
        scores = {"aesthetic": (6.0,), "negative_aesthetic": (2.5,)} if self.refines else {}
        return {**super().numbers, "original_size": (0, 0), "crop": (0, 0), **scores}

    def opposed(self, cond: Cond) -> Cond:
        """With the lower score."""
        return cond.with_extra("aesthetic", cond.extra["negative_aesthetic"]) if self.refines else cond

    @property
    def zero_null(self) -> bool:
        """As the pipeline's index says."""
        return bool(self.index("force_zeros_for_empty_prompt", True))

    def cond(self, states: Sequence[States]) -> Cond:
        """Tokens of the encoders side by side, the last one's pooled text."""
        tokens = torch.cat([each.tokens for each in states], dim=-1)
        return Cond(vector=states[-1].pooled, tokens=tokens, mask=states[0].there)

    def pooled_width(self) -> int:
        """What the embedding of ids and pooled text takes, less the ids."""
        ids = (IDS - self.refines) * self.entry("addition_time_embed_dim", int, 256)
        return self.entry("projection_class_embeddings_input_dim", int, 2816) - ids

    def added(self, x: Tensor, cond: Cond) -> dict[str, Tensor] | None:
        """Pooled text, and the ids: original size, crop, and target size in pixels (section 2.2) or score."""
        sides = torch.stack(
            [torch.as_tensor(side) for side in x.shape[2:]]
        )  # which a traced graph keeps open
        made = (sides * self.factor).to(x).expand(x.shape[0], 2)
        size = cond.extra["original_size"].to(x)
        last = cond.extra["aesthetic"].to(x) if self.refines else made
        ids = torch.cat([torch.where(size > 0, size, made), cond.extra["crop"].to(x), last], dim=1)
        assert cond.vector is not None
        return {"text_embeds": cond.vector, "time_ids": ids}
