"""The layers of the U-Net, for one, two and three axes.

Every layer sees *folded* tensors [N, C, H, W], whatever the number of axes, so that each is written once:

    1 axis   [B, C, T]        ->  [B, C, 1, T]        kernels (1, k), strides (1, 2)
    2 axes   [B, C, H, W]     ->  as it is            kernels (k, k), strides (2, 2)
    3 axes   [B, C, T, H, W]  ->  [B*T, C, H, W]      kernels (k, k), strides (2, 2), layers over time between

In channels-last memory all three are views of [B, *D, C]: folding moves nothing, a sequence for attention is a
view, and a convolution over time is a 2-D convolution of the view [B, C, T, H*W].
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.core.backbone import Taps


class Context(NamedTuple):
    """What conditions a layer: embedding [N, E] (activated), tokens [B, L, K] with mask [B, L], frames T, and taps."""

    embedding: Tensor
    tokens: Tensor | None
    mask: Tensor | None
    frames: int
    taps: Taps | None = None


def fold(x: Tensor) -> Tensor:
    """[B, C, *D] -> [N, C, H, W]; see the table above."""
    if x.ndim == 3:
        return x.unsqueeze(2)
    return x if x.ndim == 4 else x.transpose(1, 2).flatten(0, 1)


def unfold(x: Tensor, axes: int, frames: int) -> Tensor:
    """[N, C, H, W] -> [B, C, *D], the inverse of `fold`."""
    if axes == 1:
        return x.squeeze(2)
    return x if axes == 2 else x.unflatten(0, (-1, frames)).transpose(1, 2)


def zeroed(module: nn.Conv2d | nn.Linear) -> nn.Conv2d | nn.Linear:
    """The same layer with zero weights: what it adds to is left alone until training says otherwise."""
    nn.init.zeros_(module.weight)
    if module.bias is not None:
        nn.init.zeros_(module.bias)
    return module


def conv(width_in: int, width_out: int, *, axes: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution that keeps (stride 1) or halves (stride 2) the axes of a folded tensor, a unit axis apart."""
    pad = kernel // 2
    if axes == 1:
        return nn.Conv2d(width_in, width_out, (1, kernel), (1, stride), (0, pad))
    return nn.Conv2d(width_in, width_out, kernel, stride, pad)


def norm(width: int, groups: int) -> nn.GroupNorm:
    """Group normalisation with at most `groups` groups of four channels or more; in video, by frame."""
    return nn.GroupNorm(math.gcd(width, max(1, min(groups, width // 4))), width, eps=1e-5)


_PLACE = 32  # features of a frame's place


def radians_a_frame(n: int, device: torch.device) -> Tensor:
    """n speeds, from one radian a frame down to a hundredth."""
    return torch.logspace(0.0, -2.0, n, device=device)


class NoiseEmbedding(nn.Module):
    """c_noise [B] (log-SNR within ±20) and cond.vector [B, K] -> [B * frames, E], activated.

    Sines and cosines with periods from 80 (the whole range, twice) down to 1, then two linear layers. The vector
    joins before the first activation, so that what it means may depend on the noise level; in video (`axes` 3) each
    frame's place joins there too, for attention over time knows only how far frames lie apart, and "moving left"
    says where the first of them is. It starts at zero.
    """

    def __init__(self, features: int, width: int, vector: int, axes: int) -> None:
        super().__init__()
        periods = torch.logspace(math.log10(80.0), 0.0, features // 2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)
        self.frequencies: Tensor
        self.noise = nn.Linear(features // 2 * 2, width)
        self.vector = nn.Linear(vector, width, bias=False) if vector else None
        self.time_place = zeroed(nn.Linear(_PLACE, width, bias=False)) if axes == 3 else None
        self.out = nn.Linear(width, width)

    def forward(self, c_noise: Tensor, vector: Tensor | None, frames: int) -> Tensor:
        phase = c_noise[:, None] * self.frequencies.to(c_noise.dtype)
        h = self.noise(torch.cat([phase.cos(), phase.sin()], dim=1))
        if self.vector is not None and vector is not None:
            h = h + self.vector(vector)
        if self.time_place is not None:
            angle = torch.arange(frames, device=h.device)[:, None] * radians_a_frame(_PLACE // 2, h.device)
            place = torch.cat([angle.cos(), angle.sin()], dim=1).to(h.dtype)
            h = (h[:, None] + self.time_place(place)).flatten(0, 1)
        return F.silu(self.out(F.silu(h)))


class TimeConv(nn.Module):
    """x + (convolution over three frames), zero at the start: (1, 3, 3) then (3, 1, 1) kernels.

    Pseudo-3-D convolution of Make-A-Video (Singer et al. 2022, section 3.2), with the identity as a residual.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = zeroed(nn.Conv2d(width, width, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        n, c, h, w = x.shape
        line = (
            x.permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c).permute(0, 3, 1, 2)
        )  # [B, C, T, HW]
        moved = self.conv(line).permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return x + moved


def modulated(norm: nn.GroupNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale * norm(x) + shift for x [N, C, H, W] and scale, shift [N, C].

    One pass over a contiguous x instead of three: with the samples laid along the channels, each sample's scale and
    shift are the affine parameters of the normalisation.
    """
    if not x.is_contiguous():
        return torch.addcmul(shift[:, :, None, None], norm(x), scale[:, :, None, None])
    weight = norm.weight * scale
    bias = norm.bias * scale + shift
    row = x.view(1, -1, *x.shape[2:])
    return F.group_norm(row, len(x) * norm.num_groups, weight.flatten(), bias.flatten(), norm.eps).view_as(x)


class ResidualBlock(nn.Module):
    """Two convolutions; the noise embedding scales and shifts between them (Dhariwal and Nichol 2021, sec. 3)."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        *,
        axes: int,
        kernel: int,
        embedding: int,
        groups: int,
        dropout: float,
        skip_scale: float,
    ) -> None:
        super().__init__()
        self.norm1 = norm(width_in, groups)
        self.conv1 = conv(width_in, width_out, axes=axes, kernel=kernel)
        self.time_conv = TimeConv(width_out) if axes == 3 else None
        self.film = nn.Linear(embedding, 2 * width_out)
        self.norm2 = norm(width_out, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(conv(width_out, width_out, axes=axes, kernel=kernel))
        self.shortcut = nn.Identity() if width_in == width_out else nn.Conv2d(width_in, width_out, 1)
        self.skip_scale = skip_scale

    def forward(self, x: Tensor, context: Context) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.time_conv is not None:
            h = self.time_conv(h, context.frames)
        scale, shift = self.film(context.embedding).chunk(2, dim=1)
        h = F.silu(modulated(self.norm2, h, 1 + scale, shift))
        h = self.shortcut(x) + self.conv2(self.dropout(h))
        return h if self.skip_scale == 1 else h * self.skip_scale


class Downsample(nn.Module):
    """Halves every axis but time in video, by a convolution of stride 2."""

    def __init__(self, width: int, *, axes: int) -> None:
        super().__init__()
        self.conv = conv(width, width, axes=axes, kernel=3, stride=2)

    def forward(self, x: Tensor, _: Context) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Doubles every axis but time in video: nearest neighbour, then a convolution."""

    def __init__(self, width: int, *, axes: int) -> None:
        super().__init__()
        self.factor = (1, 2) if axes == 1 else (2, 2)
        self.conv = conv(width, width, axes=axes, kernel=3)

    def forward(self, x: Tensor, _: Context) -> Tensor:
        return self.conv(_repeat(x, *self.factor))


def _repeat(x: Tensor, down: int, right: int) -> Tensor:
    """Every pixel of [N, C, H, W] several times: nearest-neighbour enlargement, which is slow contiguous on CPUs."""
    if x.is_contiguous(memory_format=torch.channels_last):
        return F.interpolate(x, scale_factor=(float(down), float(right)), mode="nearest")
    n, c, h, w = x.shape
    return x[:, :, :, None, :, None].expand(n, c, h, down, w, right).reshape(n, c, h * down, w * right)
