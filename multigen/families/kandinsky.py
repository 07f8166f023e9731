"""The decoder of Kandinsky 2.2 (Razzhigaev et al. 2023, arXiv:2310.03502): an embedding -> latents, without text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.embeddings import EmbeddingFamily, told
from multigen.families.family import Form
from multigen.families.image_encoder import ImageEncoder
from multigen.registry import Part
from multigen.storage import diffusers_folder
from multigen.storage.diffusers_folder import MOVQ, Component


class Kandinsky(EmbeddingFamily):
    """The decoder of Kandinsky 2.2. Its network learned its variance, too."""

    title = "Kandinsky 2.2"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", ("UNet2DConditionModel",)),
        "movq": MOVQ,
    }

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 4.0})

    @property
    def cascade(self) -> Part | None:
        """It is told an embedding."""
        return Part("embedding")

    @property
    def embedding_width(self) -> int:
        """As the network's projection takes it."""
        return self.entry("encoder_hid_dim", int, 1280)

    @property
    def _factor(self) -> int:
        config = diffusers_folder.component(self.folder, "movq", MOVQ)
        widths = diffusers_folder.entry(
            config, self.folder / "movq", "block_out_channels", tuple[int, ...], (64,)
        )
        return 2 ** (len(widths) - 1)

    def form(self) -> Form:
        """C of the latents. MultigenError for a network that is told anything else."""
        given = [self.config.get(key) for key in ("addition_embed_type", "encoder_hid_dim_type")]
        if given != ["image", "image_proj"]:
            raise MultigenError(
                f"{self.folder / self.network}: addition_embed_type {given[0]}, encoder_hid_dim_type {given[1]} are "
                "not allowed. Allowed: image, image_proj."
            )
        return Form(2, self.entry("in_channels", int, 4), CondSpec())

    def media(self) -> Mapping[str, Any]:
        """The pixels of the latents that it was trained on."""
        return {"size": (self.entry("sample_size", int | None, None) or 64) * self._factor}

    def codec(self, source: str) -> Part:
        """Its movq."""
        return Part("movq", {"path": source})

    def hidden(self, told: Tensor, encoder: ImageEncoder | None) -> Tensor:
        """The embedding of a picture of zeros."""
        if encoder is None:
            raise MultigenError(f"{self.folder}: it needs the image encoder of its prior: stages=[PRIOR]")
        return encoder.embedding_of_nothing(told).expand_as(told)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], c_noise [B] from 0 to N - 1 -> eps [B, C, H, W]."""
        added = {"image_embeds": told(cond).to(x)}
        (out,) = network(x, c_noise, None, added_cond_kwargs=added, return_dict=False)
        return out
