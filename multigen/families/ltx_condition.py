"""LTX-Video of pictures at any frame (0.9.5 and later): frames that no latent holds alone are more tokens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import torch
from einops import rearrange
from torch import Tensor

from multigen.core.conditioning import Cond
from multigen.families.family import Stream
from multigen.families.ltx import LTX
from multigen.registry import Part
from multigen.storage.diffusers_folder import Frozen

TOKENS = 256  # of a prompt, as the pipeline cuts it
PICTURES, PLACES = "pictures", "places"  # what is shown beside the video, and of which frames


class LTXCondition(LTX):
    """LTX-Video with conditions: a first and a last frame, and others.

    Latents of which all frames are known are tokens without noise. Of each other run of known frames the first and the
    last one are more tokens, with the place of their frame in time.
    """

    title = "LTX-Video with conditions"
    grid: ClassVar[Part | None] = Part("linear_quadratic")
    lone_frames = True

    @property
    def streams(self) -> tuple[Stream, ...]:
        """T5, which does not read padding, and reads more than that of LTX-Video."""
        return (Stream("tokenizer", "text_encoder", length=TOKENS, masked=True),)

    @cached_property
    def _vae(self) -> Frozen:
        return self.part("vae")

    def look(self, media: Tensor, keep: Tensor) -> Mapping[str, Tensor]:
        """Latents of frames that stay and that no latent holds alone, [1, n, C, H', W'], and their numbers [1, n]."""
        numbers = _lone(keep.flatten(1).all(1), self.factors[0])
        if not numbers:
            return {}
        vae = self._vae.on(media.device)
        with torch.autocast(media.device.type, enabled=False):
            z = vae.encode(media[:, numbers].movedim(1, 0)[:, :, None].float()).latent_dist.mode()[:, :, 0]
            mean, std = (row.to(z)[:, None, None] for row in (vae.latents_mean, vae.latents_std))
            z = (z - mean) * float(vae.config.scaling_factor) / std
        return {PICTURES: z[None], PLACES: torch.tensor([numbers], dtype=torch.float32, device=z.device)}

    def call(self, network: Any, x: Tensor, c_noise: Tensor, cond: Cond) -> Tensor:
        """x [B, C, T, H, W], sigma [B] -> velocity [B, C, T, H, W]."""
        _, _, t, h, w = x.shape
        level = (1000 * c_noise)[:, None].expand(-1, t * h * w)
        if cond.grid is not None:
            known = cond.grid[:, :1].to(x)
            x = torch.lerp(x, cond.grid[:, 1:].to(x), known)
            level = level * (1 - known.flatten(1))
        tokens, places = rearrange(x, "b c t h w -> b (t h w) c"), self._places(x, t)
        if PICTURES in cond.extra:
            shown = rearrange(cond.extra[PICTURES].to(x), "b n c h w -> b (n h w) c")
            numbers = cond.extra[PLACES].to(x)
            more = self._places(x, 1)[:, :, None].repeat(1, 1, numbers.shape[1], 1)
            more[:, 0] += numbers[:, :, None]
            tokens, places = torch.cat([shown, tokens], 1), torch.cat([more.flatten(2), places], 2)
            level = torch.cat([level.new_zeros(shown.shape[:2]), level], 1)
        seconds = torch.cat([places[:, :1] / cond.extra["fps"].to(x)[:, :, None], places[:, 1:]], 1)
        (out,) = network(
            hidden_states=tokens,
            encoder_hidden_states=cond.tokens,
            timestep=level,
            encoder_attention_mask=cond.mask,
            video_coords=seconds,
            return_dict=False,
        )
        return rearrange(out[:, -t * h * w :], "b (t h w) c -> b c t h w", t=t, h=h, w=w)

    def _places(self, x: Tensor, count: int) -> Tensor:
        """First frame, and top and left pixel, of each token of `count` latents, [B, 3, T H W]."""
        frames, side = self.factors
        when = (torch.arange(count, device=x.device) * frames + 1 - frames).clamp(min=0)
        axes = (when, *(torch.arange(n, device=x.device) * side for n in x.shape[3:]))
        places = torch.stack(torch.meshgrid(*axes, indexing="ij")).flatten(1)
        return places.to(x).expand(len(x), -1, -1)


def _lone(known: Tensor, frames: int) -> list[int]:
    """The ends of each run of frames that are known, [T], and that no latent of `frames` holds alone."""
    later = known[1:].unflatten(0, (-1, frames)).all(1).repeat_interleave(frames)
    held = torch.cat([known[:1], later])
    lone = torch.nn.functional.pad((known & ~held).long(), (1, 1))
    begins, ends = (lone.diff() == 1).nonzero().flatten(), (lone.diff() == -1).nonzero().flatten() - 1
    return sorted({*begins.tolist(), *ends.tolist()})
