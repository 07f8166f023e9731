"""AudioLDM and MusicLDM (Liu et al. 2023, arXiv:2301.12503; Chen et al. 2023, arXiv:2308.01546): text as one vector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import Form, States, Stream
from multigen.families.spectrogram import HEARD, Spectrogram
from multigen.storage.diffusers_folder import Component


class MusicLDM(Spectrogram):
    """AudioLDM and MusicLDM: CLAP's vector stands where other networks have a class."""

    title = "AudioLDM, MusicLDM"
    components: ClassVar[Mapping[str, Component]] = {
        "unet": Component("diffusers", ("UNet2DConditionModel",)),
        **Spectrogram.parts,
    }
    scale = 2.0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLAP."""
        return (HEARD,)

    def form(self) -> Form:
        """Channels of the folded latents, and the width of the vector. MultigenError for a network without one."""
        kind = self.config.get("class_embed_type")
        if kind != "simple_projection":
            raise MultigenError(
                f"{self.folder / self.network}: class_embed_type: {kind!r} is not what the network of {self.title} "
                "has (simple_projection)"
            )
        return Form(
            1, self.folded, CondSpec(vector=self.entry("projection_class_embeddings_input_dim", int, 512))
        )

    def cond(self, states: Sequence[States]) -> Cond:
        """CLAP's vector."""
        (clap,) = states
        return Cond(vector=clap.pooled)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C F, T], c_noise [B] from 0 to N - 1, cond.vector [B, K] -> F [B, C F, T]."""
        (out,) = network(self.unfolded(x), c_noise, None, class_labels=cond.vector, return_dict=False)
        return out.transpose(2, 3).flatten(1, 2)
