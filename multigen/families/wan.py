"""Wan 2.1 and 2.2 (Wan Team 2025, arXiv:2503.20314): a flow and a transformer of videos, from text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from multigen.core.conditioning import Cond, CondSpec
from multigen.errors import MultigenError
from multigen.families.family import T5_TOKENIZER, Form, States, Stream
from multigen.families.video_transformer import VideoTransformer
from multigen.registry import Given, Part
from multigen.storage.diffusers_folder import TEMPORAL_AUTOENCODER, Component, Frozen
from multigen.storage.pipeline_place import INDEX

TOKENS = 512  # of a prompt, as the pipeline cuts it
NETWORK = Component("diffusers", ("WanTransformer3DModel",))


class Wan(VideoTransformer):
    """Wan: UMT5's tokens, zeros for padding. Wan 2.2's second network takes over in weak noise (`boundary_ratio`).

    A network with a noise level for each token (`expand_timesteps`) sees what is known as it is, at level 0.
    """

    title = "Wan"
    components: ClassVar[Mapping[str, Component]] = {
        "transformer": NETWORK,
        "transformer_2": Component("diffusers", NETWORK.classes, optional=True),
        "vae": TEMPORAL_AUTOENCODER,
        "text_encoder": Component("transformers", ("UMT5EncoderModel",)),
        "tokenizer": T5_TOKENIZER,
    }
    patch = 2
    size, frames, rate = (480, 832), 81, 16.0

    def __init__(self, *, folder: Given[Path]) -> None:
        super().__init__(folder=folder)
        self._boundary = self.index("boundary_ratio", None)
        self.sees_known = bool(self.index("expand_timesteps", False))
        self._second = None if self.listed["transformer_2"] is None else self.part("transformer_2")
        if self._boundary is not None and self._second is None:
            raise MultigenError(
                f"{folder / INDEX}: boundary_ratio needs a transformer_2, which it does not list"
            )

    @property
    def streams(self) -> tuple[Stream, ...]:
        """UMT5, which hides padding from itself."""
        return (Stream("tokenizer", "text_encoder", length=TOKENS, masked=True),)

    @property
    def guide(self) -> Part:
        """CFG at the pipeline's scale."""
        return Part("cfg", {"scale": 5.0})

    @property
    def others(self) -> Mapping[str, Frozen]:
        """The network of weak noise, if there is one."""
        return {} if self._second is None else {"transformer_2": self._second}

    @property
    def positions(self) -> int | None:
        """Those of its table of rotations."""
        return self.entry("rope_max_seq_len", int, 1024)

    def form(self) -> Form:
        """C of the latents and the width of the tokens. MultigenError for a network that takes a picture besides."""
        channels, takes = self.entry("out_channels", int, 16), self.entry("in_channels", int, 16)
        if takes != channels or self.config.get("image_dim") is not None:
            raise MultigenError(
                f"{self.folder / self.network}: in_channels: {takes} is not allowed. Allowed: {channels}; a network "
                "that takes a picture stands in a WanImageToVideoPipeline."
            )
        return Form(3, channels, CondSpec(tokens=self.entry("text_dim", int, 4096)))

    def cond(self, states: Sequence[States]) -> Cond:
        """UMT5's tokens, zeros for padding."""
        (umt5,) = states
        return Cond(tokens=umt5.tokens * umt5.words[..., None], mask=umt5.there)

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], sigma [B] -> velocity [B, C, T, H, W]."""
        if self._second is None or self._boundary is None:
            return self.one(network, x, c_noise, cond)
        low = (c_noise < float(self._boundary)).tolist()  # rows of a batch may be on either side
        out = torch.empty_like(x)
        for side, chosen in ((False, network), (True, self._second.on(x.device))):
            rows = [k for k, is_low in enumerate(low) if is_low is side]
            if rows:
                out[rows] = self.one(chosen, x[rows], c_noise[rows], cond[rows]).to(out)
        return out

    def one(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """Call one of the networks."""
        t = 1000 * c_noise
        if self.sees_known:
            known = x.new_zeros(len(x), 1, *x.shape[2:]) if cond.grid is None else cond.grid[:, :1].to(x)
            x = x if cond.grid is None else torch.lerp(x, cond.grid[:, 1:].to(x), known)
            patches = rearrange(known, "b 1 t (h p) (w q) -> b (t h w) (p q)", p=self.patch, q=self.patch)
            t = t[:, None] * (1 - patches.amin(2))
        (out,) = network(
            hidden_states=x,
            timestep=t,
            encoder_hidden_states=cond.tokens,
            return_dict=False,
            **self.shown(cond),
        )
        return out

    def shown(self, cond: Cond) -> Mapping[str, Tensor]:
        """Return what else its network takes, by diffusers' names. By default nothing."""
        return {}
