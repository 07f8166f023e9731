"""Stable Video Diffusion (Blattmann et al. 2023, arXiv:2311.15127): a picture moves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from multigen.core.backbone import NoiseLevel
from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import Family, Form, States
from multigen.families.pictures import CLIP_PROCESSOR, PictureEncoder, blurred_to
from multigen.registry import Given, Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import TEMPORAL_DECODER, Component

SIDE = 224  # pixels of what CLIP sees
RATE = 7.0  # frames/s


class StableVideoDiffusion(Family):
    """Stable Video Diffusion: it follows no prompt, and sees and hears a first frame.

    `conditioner.numbers`: {fps: 7, motion: 127, noise: 0.02}; how much moves (0 to 255), and the noise on the picture.
    """

    title = "Stable Video Diffusion"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", ("UNetSpatioTemporalConditionModel",)),
        "vae": TEMPORAL_DECODER,
        "image_encoder": Component("transformers", ("CLIPVisionModelWithProjection",)),
        "feature_extractor": CLIP_PROCESSOR,
    }
    modality = "video"
    c_noise: ClassVar[NoiseLevel] = "log_snr"
    steps = 25

    def __init__(self, *, folder: Given[Path]) -> None:
        super().__init__(folder=folder)
        self._pictures = PictureEncoder(self, "image_encoder", "feature_extractor")
        vae = diffusers_folder.component(folder, "vae", TEMPORAL_DECODER)
        self._scale = diffusers_folder.entry(vae, folder / "vae", "scaling_factor", float, 0.18215)

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """Frames a second, how much moves, and the noise on the picture."""
        return {"fps": (RATE,), "motion": (127.0,), "noise": (0.02,)}

    def known_noise(self, numbers: Mapping[str, tuple[float, ...]]) -> float:
        """What the network is told of it."""
        return numbers["noise"][0]

    @property
    def guide(self) -> Part:
        """CFG that rises from frame to frame, as the pipeline's."""
        return Part("cfg", {"scale": 3.0, "first": 1.0})

    @property
    def begins(self) -> bool:
        """Always."""
        return True

    @property
    def masked(self) -> bool:
        """It sees the latents of the first frame."""
        return True

    def form(self) -> Form:
        """C of the latents, and what it is shown. MultigenError for a network of other channels."""
        channels, takes = self.entry("out_channels", int, 4), self.entry("in_channels", int, 8)
        if takes != 2 * channels:
            raise MultigenError(
                f"{self.folder / self.network}: in_channels: {takes} is not allowed. Allowed: {2 * channels}."
            )
        return Form(3, channels, CondSpec(grid=1 + channels))

    def media(self) -> Mapping[str, Any]:
        """576 x 1024 pixels, or those of the latents that the configuration states as a pair; its frames."""
        sample = self.entry("sample_size", int | tuple[int, int] | None, None)
        sides = sample if isinstance(sample, tuple) else (72, 128)
        return {
            "size": [side * self.factor for side in sides],
            "frames": self.entry("num_frames", int, 25),
            "fps": RATE,
        }

    def codec(self, source: str) -> Part:
        """Its VAE, which decodes all frames together."""
        return Part("temporal_decoder", {"path": source})

    def cond(self, states: Sequence[States]) -> Cond:
        """`told` says that there is a picture."""
        return Cond(extra={"told": torch.ones(1, 1)})

    def null(self, cond: Cond) -> Cond:
        """Zeros in place of the picture."""
        return dataclasses.replace(cond, extra={**cond.extra, "told": torch.zeros_like(cond.extra["told"])})

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """CLIP's projection of the first frame, [1, 1, K]."""
        prepared = self._pictures.normalised(blurred_to(media[None, :, 0], SIDE))
        return {"picture": self._pictures(prepared).image_embeds[:, None]}

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], log-SNR [B] -> v [B, C, T, H, W]."""
        assert cond.grid is not None
        told, width = cond.extra["told"], self.entry("cross_attention_dim", int, 1024)
        picture = cond.extra.get("picture", x.new_zeros(len(x), 1, width))
        known = cond.grid[:, 1:, :1].to(x) / self._scale * told[:, :, None, None, None]
        frames = torch.cat([x, known.expand(-1, -1, x.shape[2], -1, -1)], 1)
        fps, motion, noise = (cond.extra[name] for name in ("fps", "motion", "noise"))
        (out,) = network(
            rearrange(frames, "b c t h w -> b t c h w"),
            -c_noise / 8,
            picture * told[:, :, None],
            torch.cat([fps - 1, motion, noise], 1),
            return_dict=False,
        )
        return rearrange(out, "b t c h w -> b c t h w")
