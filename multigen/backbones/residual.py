"""Residual blocks of the U-Net, modulated by the noise embedding.

    h = conv(silu(norm(x)))
    y = shortcut(x) + conv(silu((1 + scale) norm(h) + shift))

with scale and shift linear in the embedding: Dhariwal & Nichol 2021 (arXiv:2105.05233), section 3. In video a
convolution over three frames follows the first one (pseudo-3-D: Singer et al. 2022, arXiv:2209.14792, section 3.2).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.attention import AttentionBlock
from multigen.backbones.layers import Context, conv, convolved, norm, zeroed
from multigen.backbones.winograd import Conv, samples_on_cpu


class TimeConv(nn.Module):
    """x + (convolution over three frames), zero at the start of training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = zeroed(Conv(width, width, (3, 1)))

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """[B*T, C, H, W] -> the same shape."""
        n, c, h, w = x.shape
        line = (
            x.permute(0, 2, 3, 1).reshape(n // frames, frames, h * w, c).permute(0, 3, 1, 2)
        )  # [B, C, T, HW]
        moved = self.conv(line).permute(0, 2, 3, 1).reshape(n, h, w, c).permute(0, 3, 1, 2)
        return x + moved


def modulated(norm: nn.GroupNorm, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """scale * norm(x) + shift for x [R, C, H, W] and scale, shift [R, C].

    One pass over a contiguous x instead of three: with the rows laid along the channels, each row's scale and shift are
    the affine parameters of the normalisation. A trace has to hold for any number of rows, so it takes the plain way.
    """
    if samples_on_cpu(x):
        y = norm(x)
        return torch.addcmul(shift[:, :, None, None], y, scale[:, :, None, None], out=y)
    if not x.is_contiguous() or torch.onnx.is_in_onnx_export():
        return torch.addcmul(shift[:, :, None, None], norm(x), scale[:, :, None, None])
    weight = norm.weight * scale
    bias = norm.bias * scale + shift
    row = x.view(1, -1, *x.shape[2:])
    return F.group_norm(row, len(x) * norm.num_groups, weight.flatten(), bias.flatten(), norm.eps).view_as(x)


def activated(x: Tensor) -> Tensor:
    """SiLU of what a normalisation made; in its place where nothing learns, as new memory costs more than the SiLU."""
    return F.silu(x, inplace=not torch.is_grad_enabled())


class ResidualBlock(nn.Module):
    """Two convolutions with a shortcut, modulated between them. Arguments as for `UNet`; embedding 0: no modulation."""

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
        self.film = nn.Linear(embedding, 2 * width_out) if embedding else None
        self.norm2 = norm(width_out, groups)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = zeroed(conv(width_out, width_out, axes=axes, kernel=kernel))
        self.shortcut = nn.Identity() if width_in == width_out else Conv(width_in, width_out, (1, 1))
        self.skip_scale = skip_scale

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[R, width_in, H, W] -> [R, width_out, H, W]."""
        h = convolved(self.conv1, activated(self.norm1(x)), context.closed)
        if self.time_conv is not None:
            h = self.time_conv(h, context.frames)
        h = self.dropout(activated(self._normed(h, context)))
        h = self.shortcut(x) + convolved(self.conv2, h, context.closed)
        return h if self.skip_scale == 1 else h * self.skip_scale

    def _normed(self, h: Tensor, context: Context) -> Tensor:
        if self.film is None or context.embedding is None:
            return self.norm2(h)
        scale, shift = self.film(context.embedding).chunk(2, dim=1)
        return modulated(self.norm2, h, 1 + scale, shift)


class Stage(nn.Module):
    """A residual block, then attention if `attend`."""

    def __init__(
        self,
        width_in: int,
        width_out: int,
        attend: bool,
        *,
        axes: int,
        kernel: int,
        embedding: int,
        groups: int,
        head_width: int,
        tokens: int,
        dropout: float,
        skip_scale: float,
    ) -> None:
        super().__init__()
        self.residual = ResidualBlock(
            width_in, width_out, axes=axes, kernel=kernel, embedding=embedding, groups=groups, dropout=dropout,
            skip_scale=skip_scale,
        )  # fmt: skip
        self.attention = None
        if attend:
            self.attention = AttentionBlock(
                width_out, axes=axes, head_width=head_width, groups=groups, tokens=tokens
            )

    def forward(self, x: Tensor, context: Context) -> Tensor:
        """[R, width_in, H, W] -> [R, width_out, H, W]."""
        x = self.residual(x, context)
        return x if self.attention is None else self.attention(x, context)
