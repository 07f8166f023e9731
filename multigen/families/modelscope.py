"""ModelScope text-to-video (Wang et al. 2023, arXiv:2308.06571): a U-Net of videos with convolutions over time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.families.family import count_tokens
from multigen.families.unet import CLIP, UNetFamily
from multigen.registry import Part
from multigen.storage.diffusers_folder import AUTOENCODER, Component

FRAMES, RATE = 16, 8.0  # as the pipeline makes them, and frames/s


class ModelScope(UNetFamily):
    """ModelScope text-to-video: CLIP's last states, all of them heard; the VAE sees each frame by itself."""

    title = "ModelScope text-to-video"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", ("UNet3DConditionModel",)),
        "vae": AUTOENCODER,
        **CLIP,
    }
    modality = "video"
    controlled = False
    prompted = False
    axes = 3
    scale = 9.0

    def media(self) -> Mapping[str, Any]:
        """The pixels of the latents that it was trained on, and its frames."""
        return {**super().media(), "frames": FRAMES, "fps": RATE}

    def codec(self, source: str) -> Part:
        """The VAE of pictures, frame by frame."""
        return Part("frame_vae", {"path": source})

    def shared(self, cond: Cond) -> Hashable:
        """Equal numbers of tokens: it has no mask for padding."""
        return count_tokens(cond)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], c_noise [B] from 0 to N - 1, cond.tokens [B, L, K] -> F [B, C, T, H, W]."""
        return network(x, c_noise, cond.tokens, return_dict=False)[0]
