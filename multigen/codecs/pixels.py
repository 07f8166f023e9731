"""Pixels: model space is the media themselves, optionally with blocks of pixels folded into channels."""

from __future__ import annotations

import math
from collections.abc import Iterable

from einops import rearrange
from torch import Tensor

from multigen.codecs import Codec


class Pixels(Codec):
    """Media [C, *D] <-> [C * u^2, ..., H / u, W / u], times `scale`; works for one, two and three axes.

    `unshuffle` u folds u x u blocks of the two spatial axes into channels, without loss (space to depth: Shi et
    al. 2016, arXiv:1609.05158, eq. 4, read backwards): a network then works at u^2 fewer places.

    Pictures in [-1, 1] have a standard deviation near 0.5, which `scale: 1` keeps (EDM's sigma_data of 0.5);
    `scale: 2` brings it near 1.
    """

    def __init__(self, *, unshuffle: int = 1, scale: float = 1.0) -> None:
        super().__init__()
        if unshuffle < 1:
            raise ValueError(f"unshuffle: {unshuffle!r} is not allowed. Allowed: 1 or more.")
        if not (scale > 0 and math.isfinite(scale)):
            raise ValueError(f"scale: {scale!r} is not allowed. Allowed: a finite number above 0.")
        self.unshuffle, self.scale = unshuffle, scale
        self.spread = 0.5 * scale

    def shape(self, media: tuple[int, ...]) -> tuple[int, ...]:
        """Model-space shape. ValueError if `unshuffle` does not divide height and width, or the media have none."""
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

    def encode(self, media: Tensor) -> Tensor:
        """[B, C, *D] in [-1, 1] -> [B, C * u^2, ..., H / u, W / u]."""
        self.shape(tuple(media.shape[1:]))
        x = media * self.scale
        if self.unshuffle == 1:
            return x
        return rearrange(x, "b c ... (h p) (w q) -> b (c p q) ... h w", p=self.unshuffle, q=self.unshuffle)

    def decode(self, x: Tensor, *, seed: int = 0) -> Tensor:
        """The inverse, clamped to [-1, 1]. Nothing here is random: `seed` changes nothing."""
        return self.unclamped(x).clamp(-1, 1)

    def unclamped(self, x: Tensor) -> Tensor:
        """[B, C * u^2, ..., H / u, W / u] -> [B, C, *D], beyond the range where x is."""
        if self.unshuffle > 1:
            x = rearrange(x, "b (c p q) ... h w -> b c ... (h p) (w q)", p=self.unshuffle, q=self.unshuffle)
        return x / self.scale

    def keeps(self, keep: Tensor) -> Tensor:
        """Blocks of which every pixel is kept: bool [*D] -> bool [..., H / u, W / u]."""
        if self.unshuffle == 1:
            return keep
        blocks = rearrange(keep, "... (h p) (w q) -> ... h w (p q)", p=self.unshuffle, q=self.unshuffle)
        return blocks.all(-1)

    def fit(self, media: Iterable[Tensor]) -> None:
        """Pixels have no statistics; `media` are not read."""
