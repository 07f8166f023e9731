"""Flux.1 (Black Forest Labs 2024): a flow and a transformer of packed latents, guidance distilled or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import CLIP_TOKENIZER, T5_TOKENIZER, Form, States, Stream
from multigen.families.transformer import TransformerFamily
from multigen.registry import Part
from multigen.storage.diffusers_folder import AUTOENCODER, Component

T5_TOKENS = 512  # of a prompt, as the pipeline cuts it
GUIDANCE = 3.5  # as the pipeline tells it


class Flux(TransformerFamily):
    """Flux.1: CLIP's pooled text and T5's tokens; `conditioner.numbers` {guidance: 3.5} where guidance is distilled.

    The guide `distilled` tells it another scale; `cfg` guides by a second, unconditional call (true CFG).
    """

    title = "Flux"
    components: ClassVar[Mapping[str, Component]] = {
        "transformer": Component("diffusers", ("FluxTransformer2DModel",)),
        "vae": AUTOENCODER,
        "text_encoder": Component("transformers", ("CLIPTextModel",)),
        "tokenizer": CLIP_TOKENIZER,
        "text_encoder_2": Component("transformers", ("T5EncoderModel",)),
        "tokenizer_2": T5_TOKENIZER,
    }
    steps = 28
    own_sigmas = True
    patch = 2

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLIP L, of which only the pooled text is heard, and T5."""
        return (
            Stream("tokenizer", "text_encoder", pooled="pooler_output"),
            Stream("tokenizer_2", "text_encoder_2", length=T5_TOKENS),
        )

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """The guidance scale, where guidance is distilled into the network."""
        return {"guidance": (GUIDANCE,)} if self.entry("guidance_embeds", bool, False) else {}

    @property
    def guide(self) -> Part:
        """The distilled guidance, if there is one."""
        return Part("distilled", {"scale": GUIDANCE}) if self.distilled else Part("plain")

    def form(self) -> Form:
        """C of the latents, four of which are one token, and widths of tokens and pooled text."""
        tokens = self.entry("joint_attention_dim", int, 4096)
        spec = CondSpec(vector=self.entry("pooled_projection_dim", int, 768), tokens=tokens)
        return Form(2, self.entry("in_channels", int, 64) // self.patch**2, spec)

    def cond(self, states: Sequence[States]) -> Cond:
        """T5's tokens, padding heard, and CLIP's pooled text."""
        clip, t5 = states
        return Cond(vector=clip.pooled, tokens=t5.tokens, mask=t5.there)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], sigma [B] -> velocity [B, C, H, W]."""
        assert cond.tokens is not None
        height, width = (side // self.patch for side in x.shape[2:])
        rows, columns = (torch.arange(n, device=x.device, dtype=x.dtype) for n in (height, width))
        ids = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)
        scale = cond.extra["guidance"][:, 0] if "guidance" in cond.extra else None
        (out,) = network(
            hidden_states=self._packed(x, height, width),
            timestep=c_noise,
            guidance=scale,
            pooled_projections=cond.vector,
            encoder_hidden_states=cond.tokens,
            txt_ids=x.new_zeros(cond.tokens.shape[1], 3),
            img_ids=torch.nn.functional.pad(ids, (1, 0)),
            return_dict=False,
        )
        squares = out.reshape(-1, height, width, x.shape[1], self.patch, self.patch)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(x.shape)

    def _packed(self, x: Tensor, height: int, width: int) -> Tensor:
        """Squares as tokens: [B, C, (H p), (W p)] -> [B, H W, C p p]. Reshapes leave a traced graph's sizes open."""
        squares = x.reshape(-1, x.shape[1], height, self.patch, width, self.patch)
        return squares.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
