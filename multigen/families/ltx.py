"""LTX-Video (HaCohen et al. 2024, arXiv:2501.00103): a flow and a transformer of packed latents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.families.family import T5_TOKENIZER, Form, States, Stream
from multigen.families.video_transformer import VideoTransformer
from multigen.registry import Part
from multigen.storage.diffusers_folder import TEMPORAL_AUTOENCODER, Component

TOKENS = 128  # of a prompt, as the pipeline cuts it


class LTX(VideoTransformer):
    """LTX-Video: T5's tokens without padding; positions in seconds, `conditioner.numbers` {fps: 25}.

    Frames that are known, such as a first one, are tokens without noise, at level 0 (section 2.5).
    """

    title = "LTX-Video"
    components: ClassVar[Mapping[str, Component]] = {
        "transformer": Component("diffusers", ("LTXVideoTransformer3DModel",)),
        "vae": TEMPORAL_AUTOENCODER,
        "text_encoder": Component("transformers", ("T5EncoderModel",)),
        "tokenizer": T5_TOKENIZER,
    }
    own_sigmas = True
    sees_known = True
    size, frames, rate = (512, 704), 161, 25.0

    @property
    def streams(self) -> tuple[Stream, ...]:
        """T5, which reads padding, too."""
        return (Stream("tokenizer", "text_encoder", length=TOKENS),)

    @property
    def numbers(self) -> Mapping[str, tuple[float, ...]]:
        """Frames a second."""
        return {"fps": (self.rate,)}

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 3.0})

    def form(self) -> Form:
        """C of the latents, and the width of the tokens."""
        spec = CondSpec(tokens=self.entry("caption_channels", int, 4096))
        return Form(3, self.entry("in_channels", int, 128), spec)

    def cond(self, states: Sequence[States]) -> Cond:
        """T5's tokens; padding is not heard."""
        (t5,) = states
        return Cond(tokens=t5.tokens, mask=t5.words)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], sigma [B] -> velocity [B, C, T, H, W]."""
        assert cond.mask is not None
        frames, side = self.factors
        _, _, t, h, w = x.shape
        level = 1000 * c_noise
        if cond.grid is not None:
            known = cond.grid[:, :1].to(x)
            x = torch.lerp(x, cond.grid[:, 1:].to(x), known)
            level = level[:, None] * (1 - known.flatten(1))
        (out,) = network(
            hidden_states=rearrange(x, "b c t h w -> b (t h w) c"),
            encoder_hidden_states=cond.tokens,
            timestep=level,
            encoder_attention_mask=cond.mask,
            num_frames=t,
            height=h,
            width=w,
            rope_interpolation_scale=(frames / cond.extra["fps"][:, :, None, None, None], side, side),
            return_dict=False,
        )
        return rearrange(out, "b (t h w) c -> b c t h w", t=t, h=h, w=w)
