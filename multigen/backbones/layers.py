"""Folded tensors, which make one U-Net of one, two and three axes, and its plain layers.

Every layer sees a folded tensor [R, C, H, W], whatever the number of axes, so that each is written once:

    1 axis   [B, C, T]        ->  [B, C, 1, T]        kernels (1, k), strides (1, 2)
    2 axes   [B, C, H, W]     ->  as it is            kernels (k, k), strides (2, 2)
    3 axes   [B, C, T, H, W]  ->  [B*T, C, H, W]      kernels (k, k), strides (2, 2), layers over time between

R is the number of rows, B or B*T. In channels-last memory all three are views of [B, *D, C]: folding moves nothing, a
sequence for attention is a view, and a convolution over time is a 2-D convolution of the view [B, C, T, H*W].
"""

from __future__ import annotations

import math
from typing import NamedTuple

from einops import rearrange
from torch import Tensor, nn

from multigen.backbones.winograd import Conv
from multigen.core.backbone import Taps
from multigen.core.circles import OPEN, Closed


class Context(NamedTuple):
    """What layers are conditioned on.

    embedding  [R, E], of the noise level and the vector, activated; None: there is neither, as in an autoencoder
    tokens     [B, L, K]
    mask       [B, L], True for a valid token
    frames     T of a video, else 1
    taps       changes or records inside attention
    closed     axes along which convolutions take a sample as a circle; attention knows no places there
    """

    embedding: Tensor | None
    tokens: Tensor | None
    mask: Tensor | None
    frames: int
    taps: Taps | None = None
    closed: Closed = OPEN


def fold(x: Tensor) -> Tensor:
    """[B, C, *D] -> [R, C, H, W]; see the table above."""
    if x.ndim == 3:
        return x.unsqueeze(2)
    return x if x.ndim == 4 else x.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, axes: int, frames: int) -> Tensor:
    """[R, C, H, W] -> [B, C, *D], the inverse of `fold`."""
    if axes == 1:
        return x.squeeze(2)
    return x if axes == 2 else x.unflatten(0, (-1, frames)).transpose(1, 2)


def to_blocks(x: Tensor, side: int) -> Tensor:
    """Move blocks of `side` places along the strided axes into channels: [B, C, *D] -> [B, C * side^n, *D'].

    n is 1 for one axis, else 2: height and width. Shi et al. 2016 (arXiv:1609.05158), eq. 4, inverted.
    """
    if side == 1:
        return x
    if x.ndim == 3:
        return rearrange(x, "b c (t p) -> b (c p) t", p=side)
    return rearrange(x, "b c ... (h p) (w q) -> b (c p q) ... h w", p=side, q=side)


def from_blocks(x: Tensor, side: int) -> Tensor:
    """The inverse of `to_blocks`."""
    if side == 1:
        return x
    if x.ndim == 3:
        return rearrange(x, "b (c p) t -> b c (t p)", p=side)
    return rearrange(x, "b (c p q) ... h w -> b c ... (h p) (w q)", p=side, q=side)


def zeroed(module: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """Set a layer's weights to zero, so that at the start of training it adds nothing."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def conv(width_in: int, width_out: int, *, axes: int, kernel: int, stride: int = 1) -> Conv:
    """A convolution of a folded tensor that keeps (stride 1) or halves (stride 2) its axes, except a unit axis."""
    if axes == 1:
        return Conv(width_in, width_out, (1, kernel), (1, stride))
    return Conv(width_in, width_out, (kernel, kernel), (stride, stride))


def convolved(layer: nn.Module, x: Tensor, closed: Closed) -> Tensor:
    """A convolution of x [R, C, H, W], along closed axes as of a circle."""
    return layer(x, closed) if closed else layer(x)


def norm(width: int, groups: int) -> nn.GroupNorm:
    """Group normalisation with at most `groups` groups, each of four channels or more; in video, frame by frame."""
    return nn.GroupNorm(math.gcd(width, max(1, min(groups, width // 4))), width, eps=1e-5)
