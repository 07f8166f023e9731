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

IDS = 6  # numbers of size and crop


class StableDiffusionXL(UNetFamily):
    """Stable Diffusion XL: two text encoders, their states side by side; size and crop as ids (section 2.2).

    The original and the target size are that of what is made, the crop is at its corner; `conditioner.numbers` sets
    others: {original_size: [height, width], crop: [top, left]}.
    """

    title = "Stable Diffusion XL"
    components: ClassVar[Mapping[str, Component]] = {
        **UNET,
        "text_encoder": Component("transformers", ("CLIPTextModel", "CLIPTextModelWithProjection")),
        "tokenizer": CLIP_TOKENIZER,
        "text_encoder_2": Component("transformers", ("CLIPTextModelWithProjection",)),
        "tokenizer_2": CLIP_TOKENIZER,
    }
    scale = 5.0
    embeds = "text_time"

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The states before the last of CLIP L and of OpenCLIP G."""
        return (
            Stream("tokenizer", "text_encoder", layer=-2, chunks=True),
            Stream("tokenizer_2", "text_encoder_2", layer=-2, pooled="text_embeds", chunks=True),
        )

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """Size and crop: 0 for the size of what is made."""
        return {**super().numbers, "original_size": (0, 0), "crop": (0, 0)}

    @property
    def zero_null(self) -> bool:
        """As the pipeline's index says."""
        return bool(self.index("force_zeros_for_empty_prompt", True))

    def cond(self, states: Sequence[States]) -> Cond:
        """Tokens of both encoders side by side, the second's pooled text."""
        first, second = states
        return Cond(
            vector=second.pooled, tokens=torch.cat([first.tokens, second.tokens], dim=-1), mask=first.there
        )

    def pooled_width(self) -> int:
        """What the embedding of ids and pooled text takes, less the ids."""
        ids = IDS * self.entry("addition_time_embed_dim", int, 256)
        return self.entry("projection_class_embeddings_input_dim", int, 2816) - ids

    def added(self, x: Tensor, cond: Cond) -> dict[str, Tensor] | None:
        """Pooled text, and the ids: original size, crop, target size in pixels (section 2.2)."""
        made = x.new_tensor([side * self.factor for side in x.shape[2:]]).expand(len(x), 2)
        size = cond.extra["original_size"].to(x)
        ids = torch.cat([torch.where(size > 0, size, made), cond.extra["crop"].to(x), made], dim=1)
        assert cond.vector is not None
        return {"text_embeds": cond.vector, "time_ids": ids}
