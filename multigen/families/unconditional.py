"""Unconditional diffusion in pixels: DDPM and DDIM (Ho et al. 2020, arXiv:2006.11239)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import Family, Form
from multigen.registry import Part
from multigen.storage.diffusers_folder import Component


class Pixels(Family):
    """A U-Net of pixels."""

    @property
    def channels(self) -> int:
        """Of the pixels."""
        return self.entry("in_channels", int, 3)

    def without(self, *keys: str) -> None:
        """MultigenError for a network that takes classes by one of these entries of its configuration."""
        if any(self.config.get(key) for key in keys):
            raise MultigenError(
                f"{self.folder / self.network}: a network that takes a class is not allowed. Allowed: without "
                f"{' and '.join(keys)}."
            )

    def media(self) -> Mapping[str, Any]:
        """The size and the channels that it was trained on."""
        size = self.entry("sample_size", int | tuple[int, int] | None, None) or 64
        return {"size": size, "channels": self.channels}

    def codec(self, source: str) -> Part:
        """Pixels as they are."""
        return Part("pixels")

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for sides that the network does not halve evenly at each of its levels."""
        step = 2 ** (len(self.entry("block_out_channels", tuple[int, ...], (64,) * 4)) - 1)
        for side in shape[1:]:
            near = max(round(side / step), 1) * step
            if near != side:
                raise ValueError(
                    f"{side} pixels are not allowed. Allowed: multiples of {step}; the nearest is {near}."
                )


class Unconditional(Pixels):
    """A U-Net of pixels without a condition."""

    title = "unconditional diffusion"
    components: ClassVar[Mapping[str, Component]] = {"unet": Component("diffusers", ("UNet2DModel",))}

    def form(self) -> Form:
        """Channels of the pixels. MultigenError for a network of classes."""
        self.without("num_class_embeds", "class_embed_type")
        return Form(2, self.channels, CondSpec())

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], c_noise [B] from 0 to N - 1 -> F [B, C, H, W]."""
        return network(x, c_noise, return_dict=False)[0]
