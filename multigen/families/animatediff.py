"""AnimateDiff (Guo et al. 2023, arXiv:2307.04725): Stable Diffusion 1.x with a motion module in each block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.families.modelscope import ModelScope
from multigen.families.unet import CLIP
from multigen.storage.diffusers_folder import AUTOENCODER, Component

LONGEST = 32  # frames that the motion modules have places for, where the configuration does not say


class AnimateDiff(ModelScope):
    """AnimateDiff: the text is heard by each frame; the network has the motion modules in it."""

    title = "AnimateDiff"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", ("UNetMotionModel",)),
        "vae": AUTOENCODER,
        **CLIP,
    }
    scale = 7.5
    prompted = True

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError for more frames than the motion modules have places for."""
        most = self.entry("motion_max_seq_length", int, LONGEST)
        if shape[1] > most:
            raise ValueError(
                f"{shape[1]} frames are not allowed. Allowed: up to {most}; longer videos are made in windows."
            )

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], c_noise [B] from 0 to N - 1, cond.tokens [B, L, K] -> F [B, C, T, H, W]."""
        assert cond.tokens is not None
        heard = cond.tokens.repeat_interleave(x.shape[2], 0)
        return network(x, c_noise, heard, return_dict=False)[0]
