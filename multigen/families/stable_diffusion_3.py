"""Stable Diffusion 3 and 3.5 (Esser et al. 2024, arXiv:2403.03206)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import CLIP_TOKENIZER, T5_TOKENIZER, Form, States, Stream
from multigen.families.transformer import TransformerFamily
from multigen.registry import Part
from multigen.storage.diffusers_folder import AUTOENCODER, Component

T5_TOKENS = 256  # of a prompt, as the pipeline cuts it
_CLIP = Component("transformers", ("CLIPTextModelWithProjection",))


class StableDiffusion3(TransformerFamily):
    """Stable Diffusion 3: a flow, a transformer with joint attention, and three text encoders, T5 left out or not.

    Tokens are those of both CLIP encoders side by side, filled with zeros to the width of T5's, then T5's.
    """

    title = "Stable Diffusion 3"
    components: ClassVar[Mapping[str, Component]] = {
        "transformer": Component("diffusers", ("SD3Transformer2DModel",)),
        "vae": AUTOENCODER,
        "text_encoder": _CLIP,
        "tokenizer": CLIP_TOKENIZER,
        "text_encoder_2": _CLIP,
        "tokenizer_2": CLIP_TOKENIZER,
        "text_encoder_3": Component("transformers", ("T5EncoderModel",), optional=True),
        "tokenizer_3": Component("transformers", T5_TOKENIZER.classes, optional=True),
    }
    steps = 28
    patch = 2

    @property
    def streams(self) -> tuple[Stream, ...]:
        """CLIP L, CLIP G and T5, if it is there."""
        clips = tuple(
            Stream(f"tokenizer{n}", f"text_encoder{n}", layer=-2, pooled="text_embeds") for n in ("", "_2")
        )
        if self.listed["text_encoder_3"] is None:
            return clips
        return (*clips, Stream("tokenizer_3", "text_encoder_3", length=T5_TOKENS))

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 7.0})

    def form(self) -> Form:
        """C of the latents, and widths of tokens and pooled text."""
        tokens = self.entry("joint_attention_dim", int, 4096)
        spec = CondSpec(vector=self.entry("pooled_projection_dim", int, 2048), tokens=tokens)
        return Form(2, self.entry("in_channels", int, 16), spec)

    def cond(self, states: Sequence[States]) -> Cond:
        """Tokens of all encoders one after another, pooled text of both CLIP encoders side by side."""
        first, second, *rest = states
        clip, width = torch.cat([first.tokens, second.tokens], -1), self.form().cond.tokens
        others = [t5.tokens for t5 in rest] or [clip.new_zeros(len(clip), T5_TOKENS, width)]
        tokens = torch.cat([F.pad(clip, (0, width - clip.shape[-1])), *others], 1)
        assert first.pooled is not None and second.pooled is not None
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return Cond(vector=torch.cat([first.pooled, second.pooled], -1), tokens=tokens, mask=mask)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, H, W], sigma [B] -> velocity [B, C, H, W]."""
        (out,) = network(
            hidden_states=x,
            timestep=1000 * c_noise,
            encoder_hidden_states=cond.tokens,
            pooled_projections=cond.vector,
            return_dict=False,
        )
        return out
