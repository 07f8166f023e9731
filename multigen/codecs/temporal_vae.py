"""The VAE of a video pipeline: videos <-> latents of fewer frames and pixels, from a folder in diffusers' format.

x = (z - mean) scale/std,    z from the encoder's posterior, mean and std of each channel

The first frame is one latent frame; each further f frames are another: f k + 1 frames. Wan (arXiv:2503.20314, section
4.1), LTX-Video (HaCohen et al. 2024, arXiv:2501.00103, section 2.1).
"""

from __future__ import annotations

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from multigen.codecs.pipeline_vae import PipelineVAE, check_multiple
from multigen.core.noise import normal
from multigen.registry import Given
from multigen.storage.diffusers_folder import TEMPORAL_AUTOENCODER, Turns, temporal_factors


class TemporalVAE(PipelineVAE):
    """Videos [B, 3, T, H, W] in [-1, 1] <-> latents [B, C, (T - 1)/f + 1, H / s, W / s], in fp32.

    path      the pipeline's folder, whose `vae` is used, or its id on the hub (hf:owner/name)
    multiple  sides of latents are multiples of it, as a network of patches wants them
    by_frame  a network with mask channels sees where each of the f frames of a latent is known, the first one f times,
              and what is known in the middle of grey frames, as Wan's do

    decode_timestep  a decoder that also removes noise (LTX 0.9.1 and later) is told of that much, 0 to 1 ...
    decode_noise     ... and finds that share of it in the latents; null: as much
    tiling    frames are encoded and decoded in overlapping tiles, one after another: less memory, faint seams
    slicing   the videos of a batch one after another: less memory

    A video of another number of frames is made of the next that can be, and cut. It is neither trained nor saved.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        multiple: int = 1,
        by_frame: bool = False,
        decode_timestep: float = 0.0,
        decode_noise: float | None = None,
        tiling: bool = False,
        slicing: bool = False,
        turns: Given[Turns | None] = None,
    ) -> None:
        check_multiple(multiple)
        told, found = decode_timestep, decode_timestep if decode_noise is None else decode_noise
        for name, value in (("decode_timestep", told), ("decode_noise", found)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}: {value} is not allowed. Allowed: 0 to 1.")
        super().__init__(path, TEMPORAL_AUTOENCODER, tiling=tiling, slicing=slicing, turns=turns)
        self.multiple, (self.frames, self.side) = multiple, temporal_factors(self.folder)
        self.channels = self.entry("z_dim" if "z_dim" in self.config else "latent_channels", int, 16)
        self.scale = self.entry("scaling_factor", float, 1.0)
        self.timed = self.entry("timestep_conditioning", bool, False)
        if not self.timed and (told or found):
            raise ValueError(
                f"decode_timestep, decode_noise: the decoder of {path} removes no noise. Allowed: 0."
            )
        self.decoding = (told, found)
        self.by_frame, self.mask_width = by_frame, self.frames if by_frame else 1
        self._listed = (
            self.entry("latents_mean", tuple[float, ...], ()),
            self.entry("latents_std", tuple[float, ...], ()),
        )

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return [C, (T - 1)/f + 1, H / s, W / s]. ValueError for sizes that cannot be made, with the nearest."""
        if len(media) != 4 or media[0] != 3:
            raise ValueError(f"this VAE takes videos of 3 channels, not media of shape {tuple(media)}.")
        _, count, height, width = media
        near = max(round((count - 1) / self.frames), 0) * self.frames + 1
        if near != count:
            raise ValueError(
                f"{count} frames are not allowed. Allowed: {self.frames} k + 1; the nearest is {near}."
            )
        for given in (height, width):
            if given % self.side:
                best = max(round(given / self.side), 1) * self.side
                raise ValueError(
                    f"{given} pixels are not allowed. Allowed: multiples of {self.side}; the nearest is {best}."
                )
        return self.channels, (count - 1) // self.frames + 1, height // self.side, width // self.side

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, T, H, W] with T up to f k + 1, and sides up to multiples of s, times `multiple`."""
        channels, count, *sides = media
        step = self.side * self.multiple
        frames = -(-(count - 1) // self.frames) * self.frames + 1
        return channels, frames, *(-(-n // step) * step for n in sides)

    def encode(self, media: Tensor, *, seed: int | None = None) -> Tensor:
        """[B, 3, T, H, W] -> latents: the mode of each posterior, or with a seed a sample of it, row k's seed + k."""
        self.shape(tuple(media.shape[1:]))
        with torch.autocast(media.device.type, enabled=False):
            z = self.latents(media.float(), seed)
            mean, std = self._statistics(self.vae)
            return (z - mean) * self.scale / std

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """Latents -> [B, 3, T, H, W], clamped to [-1, 1]. Noise for a decoder that removes it is keyed by seed + k."""
        network = self.vae
        with torch.autocast(x.device.type, enabled=False):
            mean, std = self._statistics(network)
            z = x.float() * std / self.scale + mean
            told, found = self.decoding
            if found:
                rows = [normal(z.shape[1:], seed + k, "decoding") for k in range(len(z))]
                z = torch.lerp(z, torch.stack(rows).to(z), found)
            level = (z.new_full((len(z),), told),) if self.timed else ()
            return network.decode(z, *level).sample.clamp(-1, 1)

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks of frames and pixels that are all kept: bool [T, H, W] -> bool [(T - 1)/f + 1, H / s, W / s]."""
        s = self.side
        places = rearrange(keep, "t (h s) (w r) -> t h w (s r)", s=s, r=s).all(-1)
        later = rearrange(places[1:], "(t f) h w -> t h w f", f=self.frames).all(-1)
        return torch.cat([places[:1], later])

    def shown_mask(self, keep: Tensor) -> Tensor:
        """Bool [T, H, W] -> [1, ...] as `latent_mask`, or of each frame: [f, (T - 1)/f + 1, H / s, W / s]."""
        if not self.by_frame:
            return self.latent_mask(keep)[None].float()
        s = self.side
        places = rearrange(keep, "t (h s) (w r) -> t h w (s r)", s=s, r=s).all(-1)
        each = torch.cat([places[:1].expand(self.frames, -1, -1), places[1:]])
        return rearrange(each, "(t f) h w -> f t h w", f=self.frames).float()

    def known(self, media: Tensor, keep: Tensor) -> Tensor:
        """Latents [B, C, ...] of what is known, 0 elsewhere; `by_frame` those of media that are grey elsewhere."""
        if self.by_frame:
            return self.encode(media * keep.to(media))
        return self.encode(media) * self.latent_mask(keep).to(media)

    def known_of(self, media: Tensor, keep: Tensor, x0: Tensor) -> Tensor:
        """As `Codec.known_of`; `by_frame` of media that are grey where they are not known."""
        if self.by_frame:
            return self.encode(media * keep[:, None].to(media))
        return x0 * torch.stack([self.latent_mask(one) for one in keep])[:, None].to(x0)

    def unknown(self, shape: tuple[int, ...]) -> Tensor:
        """What is shown where nothing is known of samples [C, T', H', W']: [1, C, T', H', W']."""
        if not self.by_frame:
            return torch.zeros(1, *shape)
        _, count, *sides = shape
        grey = torch.zeros(1, 3, (count - 1) * self.frames + 1, *(n * self.side for n in sides))
        return self.encode(grey.to(self.device_of))

    def _statistics(self, network: Any) -> tuple[Tensor, Tensor]:
        """Mean and std of each channel, [C, 1, 1, 1]: those of the configuration, or of the weights."""
        listed = self._listed if self._listed[0] else (network.latents_mean, network.latents_std)
        mean, std = (
            torch.as_tensor(row, dtype=torch.float32, device=self.device_of.device) for row in listed
        )
        return mean[:, None, None, None], std[:, None, None, None]
