"""Pixels: model space is the media themselves, optionally with blocks of pixels folded into channels.

    x = scale unshuffle(media)                    colours of pictures with alpha premultiplied

Space to depth: Shi et al. 2016 (arXiv:1609.05158), eq. 4, inverted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from einops import rearrange
from torch import Tensor

from multigen.backbones.layers import from_blocks, to_blocks
from multigen.codecs import Codec
from multigen.modalities.alpha import has_alpha, premultiplied, straight

_LEAST = 1 / 16  # alpha below which gradients of colours grow no further


class Pixels(Codec):
    """Media [C, *D] <-> [C * u², ..., H / u, W / u], times `scale`, for one, two and three axes.

    unshuffle  u: u x u blocks of pixels become channels, without loss, so that a network works at u² fewer places
    scale      factor of the values; pictures have a standard deviation near 0.5, which 1 keeps (EDM's sigma_data) and 2
               brings near 1

    Raises ValueError for values out of range.
    """

    def __init__(self, *, unshuffle: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        if unshuffle < 1:
            raise ValueError(f"unshuffle: {unshuffle!r} is not allowed. Allowed: 1 or more.")
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"scale: {scale!r} is not allowed. Allowed: a finite number above 0.")
        self.unshuffle, self.scale = unshuffle, scale
        self.sigma_data = 0.5 * scale

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Return the model-space shape. ValueError for media without sides, or sides that u does not divide."""
        u = self.unshuffle
        if u == 1:
            return tuple(media)
        if len(media) < 3:
            raise ValueError(
                f"unshuffle: {u} needs height and width; media of shape {tuple(media)} have none."
            )
        *_, height, width = media
        if height % u or width % u:
            raise ValueError(f"unshuffle: {u} does not divide the size {height} x {width}.")
        return (media[0] * u * u, *media[1:-2], height // u, width // u)

    def whole(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """[C, ..., H, W] with sides up to multiples of u."""
        u = self.unshuffle
        return media if u == 1 else (*media[:-2], *(-(-side // u) * u for side in media[-2:]))

    def encode(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, C * u², ..., H / u, W / u]."""
        self.shape(tuple(media.shape[1:]))
        media = premultiplied(media, 1) if has_alpha(media, 1) else media
        return to_blocks(media * self.scale, self.unshuffle)

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """[B, C * u², ..., H / u, W / u] -> [B, C, *D], clamped to [-1, 1]. `seed` has no effect."""
        media = from_blocks(x, self.unshuffle) / self.scale
        return straight(media, 1) if has_alpha(media, 1) else media.clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """[B, C * u², ..., H / u, W / u] -> [B, C, *D], not clamped but where there is alpha.

        What is nearly clear is darker than `decode` has it, so that gradients stay small.
        """
        media = from_blocks(x, self.unshuffle) / self.scale
        return straight(media, 1, least=_LEAST) if has_alpha(media, 1) else media

    def latent_mask(self, keep: Tensor) -> Tensor:
        """Blocks whose pixels are all kept: bool [*D] -> bool [..., H / u, W / u]."""
        if self.unshuffle == 1:
            return keep
        blocks = rearrange(keep, "... (h p) (w q) -> ... h w (p q)", p=self.unshuffle, q=self.unshuffle)
        return blocks.all(-1)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Do nothing: pixels have no statistics."""
