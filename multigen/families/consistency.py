"""Consistency models in pixels (Song et al. 2023, arXiv:2303.01469): few steps, with or without classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.backbone import NoiseLevel
from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import Form
from multigen.families.unconditional import Pixels
from multigen.storage.diffusers_folder import Component


class ConsistencyModel(Pixels):
    """A U-Net of pixels that maps noise to data. Where it follows classes, prompts are their numbers."""

    title = "a consistency model"
    components: ClassVar[Mapping[str, Component]] = {"unet": Component("diffusers", ("UNet2DModel",))}
    c_noise: ClassVar[NoiseLevel] = "log_snr"
    steps = 1

    @property
    def classes(self) -> int:
        """As many as the network's table has."""
        return self.entry("num_class_embeds", int | None, None) or 0

    def form(self) -> Form:
        """Channels of the pixels. MultigenError for a network that takes anything else than classes."""
        self.without("class_embed_type")
        return Form(2, self.channels, CondSpec())

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], log-SNR [B] -> F [B, C, H, W]. The network takes 250 ln sigma."""
        labels = cond.extra["class"][:, 0] if "class" in cond.extra else None
        return network(x, -125 * c_noise, class_labels=labels, return_dict=False)[0]
