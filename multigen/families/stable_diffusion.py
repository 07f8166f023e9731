"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022, arXiv:2112.10752), and latent consistency models of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.families.family import CLIP_TOKENIZER, Stream
from multigen.families.unet import UNET, UNetFamily
from multigen.storage.diffusers_folder import Component


class StableDiffusion(UNetFamily):
    """Stable Diffusion 1.x and 2.x: eps, v or zero terminal SNR, with the plain or the inpainting network."""

    title = "Stable Diffusion"
    components: ClassVar[Mapping[str, Component]] = {
        **UNET,
        "text_encoder": Component("transformers", ("CLIPTextModel",)),
        "tokenizer": CLIP_TOKENIZER,
    }
    scale = 7.5
    # The pipeline sets it, whatever the file says.
    scheduler: ClassVar[Mapping[str, Any]] = {"steps_offset": 1}

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLIP's last states."""
        return (Stream("tokenizer", "text_encoder", chunks=True),)

    def added(self, x: Tensor, cond: Cond) -> dict[str, Tensor] | None:
        """Nothing."""
        return None
