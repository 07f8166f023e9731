"""Stable Diffusion 1.x and 2.x (Rombach et al. 2022, arXiv:2112.10752), and latent consistency models of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from multigen.families.unet import CLIP, UNET, UNetFamily
from multigen.storage.diffusers_folder import Component


class StableDiffusion(UNetFamily):
    """Stable Diffusion 1.x and 2.x: eps, v or zero terminal SNR, with the plain or the inpainting network."""

    title = "Stable Diffusion"
    components: ClassVar[Mapping[str, Component]] = {**UNET, **CLIP}
    scale = 7.5

    @property
    def scheduler(self) -> Mapping[str, Any]:
        """The pipeline sets it, whatever the file says."""
        return {"steps_offset": 1}
