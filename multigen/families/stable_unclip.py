"""Stable unCLIP: Stable Diffusion 2.1 that is told a picture's embedding, with noise on it, beside the text.

The noise and its level are the class of the network (Ho et al. 2021, arXiv:2106.15282, section 4.2).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen import registry
from multigen.core.conditioning import Cond
from multigen.core.schedules import Schedule
from multigen.errors import MultigenError
from multigen.families.betas import table
from multigen.families.embeddings import EmbeddingFamily, told
from multigen.families.image_encoder import IMAGE_ENCODER, ImageEncoder
from multigen.families.unet import CLIP, UNET, UNetFamily
from multigen.registry import Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import Component

NORMALIZER = Component("stable_diffusion", ("StableUnCLIPImageNormalizer",))
NOISING = "image_noising_scheduler"


class StableUnCLIPVariation(UNetFamily, EmbeddingFamily):
    """Stable unCLIP without a prior: variations of a picture. `cascade.level`: index of the noise on its embedding."""

    title = "Stable unCLIP of pictures"
    components: ClassVar[Mapping[str, Component]] = {
        **UNET,
        **CLIP,
        "image_encoder": IMAGE_ENCODER,
        "image_normalizer": NORMALIZER,
    }
    scale = 10.0
    steps = 20
    controlled = False
    prompted = False
    classes_by = "projection"
    vision = "image_encoder"

    @property
    def cascade(self) -> Part | None:
        """It is told an embedding."""
        return Part("embedding")

    @property
    def embedding_width(self) -> int:
        """Half of what the network is told: the level takes the other."""
        return self.entry("projection_class_embeddings_input_dim", int, 2048) // 2

    def form(self) -> Any:
        """As of Stable Diffusion. MultigenError for a normalizer of another width."""
        config = diffusers_folder.component(self.folder, "image_normalizer", NORMALIZER)
        width = config.get("embedding_dim", 768)
        if width != self.embedding_width:
            raise MultigenError(
                f"{self.folder / 'image_normalizer'}: embedding_dim: {width} is not allowed. Allowed: "
                f"{self.embedding_width}, half of the network's projection_class_embeddings_input_dim."
            )
        return super().form()

    @cached_property
    def _noising(self) -> Schedule:
        place = self.folder / NOISING
        config = diffusers_folder.read_json(place / "scheduler_config.json")
        return registry.build("schedule", table(config, str(place)))

    @torch.no_grad()
    def noised(self, embedding: Tensor, level: int, noise: Tensor) -> Tensor:
        """Normalised, with noise at the level, and the level's sines and cosines beside them: [B, 2 K]."""
        count = self._noising.steps or 1
        if not 0 <= level < count:
            raise MultigenError(f"cascade.level: {level} is not allowed. Allowed: 0 to {count - 1}.")
        alpha, sigma = (float(v) for v in self._noising(torch.tensor([(level + 1) / count])))
        statistics = self.part("image_normalizer").on(embedding.device)
        normal = (embedding - statistics.mean) / statistics.std
        rows = (alpha * normal + sigma * noise) * statistics.std + statistics.mean
        half = rows.shape[1] // 2
        rates = torch.exp(torch.arange(half, device=rows.device) * (-math.log(10000.0) / half))
        angles = (level * rates).expand(len(rows), half)
        return torch.cat([rows, angles.cos(), angles.sin()], dim=1)

    def hidden(self, told: Tensor, encoder: ImageEncoder | None) -> Tensor:
        """Zeros, for the level, too."""
        return torch.zeros_like(told)

    def labels(self, cond: Cond) -> Tensor | None:
        """The embedding and its level."""
        return told(cond)


class StableUnCLIP(StableUnCLIPVariation):
    """Stable unCLIP with a prior in its folder, which makes the embedding of the prompt."""

    title = "Stable unCLIP"
    components: ClassVar[Mapping[str, Component]] = {**UNET, **CLIP, "image_normalizer": NORMALIZER}
    vision = None
    stages = ("prior",)
