"""What the families whose network is a UNet2DConditionModel have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import CLIP_TOKENIZER, Family, Form, Stream
from multigen.registry import Part
from multigen.storage.diffusers_folder import AUTOENCODER, Component

UNET = {"unet": Component("diffusers", ("UNet2DConditionModel",)), "vae": AUTOENCODER}
CLIP = {"text_encoder": Component("transformers", ("CLIPTextModel",)), "tokenizer": CLIP_TOKENIZER}
# Settings of networks that take more than is known here: IP-Adapter, classes, GLIGEN ...
_UNSUPPORTED = ("class_embed_type", "encoder_hid_dim", "num_class_embeds")


class UNetFamily(Family):
    """A latent U-Net with text; the mask channels of inpainting and LCM's guidance embedding included.

    axes    of the latents
    scale   the usual guidance scale
    embeds  the addition_embed_type that it has
    """

    controlled = True
    prompted = True
    axes: ClassVar[int] = 2
    scale: ClassVar[float]
    embeds: ClassVar[str | None] = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """By default CLIP's last states."""
        return (Stream("tokenizer", "text_encoder", chunks=True),)

    @property
    def guide(self) -> Part:
        """CFG, or where the network takes the scale as an input, that."""
        return Part("distilled", {"scale": 8.5}) if self.distilled else Part("cfg", {"scale": self.scale})

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """The guidance scale, where the network takes it."""
        return {"guidance": (8.5,)} if self.config.get("time_cond_proj_dim") else {}

    @property
    def masked(self) -> bool:
        """Whether it takes 2 C + 1 channels: x, a mask and what is known."""
        return self.entry("in_channels", int, 4) == 2 * self.entry("out_channels", int, 4) + 1

    def form(self) -> Form:
        """C of the latents, and widths of tokens and pooled text. MultigenError for a network that takes more."""
        more = [key for key in _UNSUPPORTED if self.config.get(key) is not None]
        if self.config.get("addition_embed_type") != self.embeds:
            more.append("addition_embed_type")
        if more:
            raise MultigenError(
                f"{self.folder / self.network}: {more[0]}: {self.config[more[0]]!r} is not what the network of "
                f"{self.title} has ({self.embeds if more[0] == 'addition_embed_type' else None})"
            )
        channels, takes = self.entry("out_channels", int, 4), self.entry("in_channels", int, 4)
        if takes not in (channels, 2 * channels + 1):
            raise MultigenError(
                f"{self.folder / self.network}: in_channels: {takes} is not allowed. Allowed: {channels}, or "
                f"{2 * channels + 1} for inpainting."
            )
        tokens = self.entry("cross_attention_dim", int, 1280)
        grid = channels + 1 if self.masked else 0
        return Form(self.axes, channels, CondSpec(vector=self.pooled_width(), tokens=tokens, grid=grid))

    def pooled_width(self) -> int:
        """Width of the pooled text that the network takes."""
        return 0

    def media(self) -> Mapping[str, Any]:
        """The pixels of the latents that it was trained on."""
        sample = self.entry("sample_size", int | tuple[int, int] | None, None) or 64
        if isinstance(sample, int):
            return {"size": sample * self.factor}
        return {"size": [side * self.factor for side in sample]}

    def added(self, x: Tensor, cond: Cond) -> dict[str, Tensor] | None:
        """Return what the network is told beside the tokens, diffusers' added_cond_kwargs. By default nothing."""
        return None

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], c_noise [B] from 0 to N - 1, cond.tokens [B, L, K] -> F [B, C, H, W]."""
        added = self.added(x, cond)
        if cond.grid is not None:  # diffusers' mask is 1 where the picture is made
            x = torch.cat([x, 1 - cond.grid[:, :1].to(x), cond.grid[:, 1:].to(x)], dim=1)
        scale = None
        if "guidance" in cond.extra:
            scale = _embedding(cond.extra["guidance"][:, 0] - 1, self.config["time_cond_proj_dim"]).to(x)
        (out,) = network(
            x,
            c_noise,
            cond.tokens,
            timestep_cond=scale,
            encoder_attention_mask=cond.mask,
            added_cond_kwargs=added,
            return_dict=False,
        )
        return out


def _embedding(w: Tensor, width: int) -> Tensor:
    """Sines and cosines of a guidance scale less 1: w [B] -> [B, width] (Luo et al. 2023, arXiv:2310.04378)."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=w.device) * (-math.log(10000.0) / (half - 1)))
    angles = 1000 * w[:, None].float() * rates
    return torch.nn.functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, width % 2))
