"""Layers between the U-Net's levels, which halve and double the size. Time is never resampled in video."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.layers import Context, conv, convolved


class DownsampleConv(nn.Module):
    """Halve every axis by a convolution of stride 2."""

    def __init__(self, width: int, *, axes: int) -> None:
        super().__init__()
        self.conv = conv(width, width, axes=axes, kernel=3, stride=2)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[R, C, H, W] -> [R, C, H/2, W/2]; the unit axis of audio stays."""
        return convolved(self.conv, x, context.closed)


class UpsampleConv(nn.Module):
    """Double every axis: nearest neighbour, then a convolution."""

    def __init__(self, width: int, *, axes: int) -> None:
        super().__init__()
        self.factor = (1, 2) if axes == 1 else (2, 2)
        self.conv = conv(width, width, axes=axes, kernel=3)

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[R, C, H, W] -> [R, C, 2H, 2W]; the unit axis of audio stays."""
        return convolved(self.conv, _repeat(x, *self.factor), context.closed)


def _repeat(x: Tensor, down: int, right: int) -> Tensor:
    """Repeat every pixel of [R, C, H, W]. `interpolate` does the same, but slowly for contiguous tensors on CPUs."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return F.interpolate(x, scale_factor=(float(down), float(right)), mode="nearest")
    n, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(n, c, h, down, w, right).reshape(n, c, h * down, w * right)
