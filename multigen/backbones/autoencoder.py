"""An encoder and a decoder of one, two and three axes, made of the U-Net's layers.

The shape of the first stage of latent diffusion (Rombach et al. 2022, arXiv:2112.10752, appendix E): levels of residual
blocks, the size halved between them, without skip connections and without a noise level. Blocks of pixels are folded
into channels first, since convolutions at full size cost most and learn least. In video time is never resampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from multigen.backbones.layers import Context, conv, fold, from_blocks, norm, to_blocks, unfold
from multigen.backbones.resampling import DownsampleConv, UpsampleConv
from multigen.backbones.residual import Stage

_HEAD_WIDTH = 32  # channels of the narrowest head of attention


class Encoder(nn.Module):
    """Media [B, C, *D] -> [B, out_channels, *D / factor], where factor = patch * 2^(levels - 1).

    axes       1 for audio, 2 for images, 3 for video (time first, never resampled)
    channels   C
    patch      side of the blocks that are folded into channels
    widths     channels of each level; every level but the first halves the axes
    blocks     residual blocks of each level
    attention  whether the deepest level attends
    kernel     width of the convolutions, odd
    groups     most groups of a normalisation
    """

    def __init__(
        self,
        *,
        axes: int,
        channels: int,
        out_channels: int,
        patch: int,
        widths: Sequence[int],
        blocks: int,
        attention: bool,
        kernel: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.axes, self.patch = axes, patch
        stage = _stage(axes, kernel, groups)
        self.enter = conv(channels * _block(axes, patch), widths[0], axes=axes, kernel=kernel)
        self.layers, width = nn.ModuleList(), widths[0]
        for level, wide in enumerate(widths):
            if level > 0:
                self.layers.append(DownsampleConv(width, axes=axes))
            for _ in range(blocks):
                self.layers.append(stage(width, wide, False))
                width = wide
        self.layers.append(stage(width, width, attention))
        self.leave_norm = norm(width, groups)
        self.leave = conv(width, out_channels, axes=axes, kernel=kernel)

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, *D] -> [B, out_channels, *D / factor]; factor divides all of D but a video's time."""
        return _through(self, to_blocks(media, self.patch), self.axes)


class Decoder(nn.Module):
    """[B, in_channels, *D / factor] -> media [B, C, *D]. Arguments as for `Encoder`, which it mirrors."""

    def __init__(
        self,
        *,
        axes: int,
        channels: int,
        in_channels: int,
        patch: int,
        widths: Sequence[int],
        blocks: int,
        attention: bool,
        kernel: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.axes, self.patch = axes, patch
        stage, width = _stage(axes, kernel, groups), widths[-1]
        self.enter = conv(in_channels, width, axes=axes, kernel=kernel)
        self.layers = nn.ModuleList([stage(width, width, attention)])
        for level, wide in reversed([*enumerate(widths)]):
            for _ in range(blocks):
                self.layers.append(stage(width, wide, False))
                width = wide
            # Narrowed before it is enlarged: convolutions of the larger size are then the next level's.
            width = widths[max(level - 1, 0)]
            self.layers.append(stage(wide, width, False))
            if level > 0:
                self.layers.append(UpsampleConv(width, axes=axes))
        self.leave_norm = norm(width, groups)
        self.leave = conv(width, channels * _block(axes, patch), axes=axes, kernel=kernel)

    def forward(self, x: Tensor) -> Tensor:
        """[B, in_channels, *D'] -> [B, C, *D]."""
        return from_blocks(_through(self, x, self.axes), self.patch)


def _stage(axes: int, kernel: int, groups: int) -> Callable[[int, int, bool], Stage]:
    """Make stages without a noise embedding and without tokens: (width in, width out, whether it attends)."""
    return partial(
        Stage, axes=axes, kernel=kernel, embedding=0, groups=groups, head_width=_HEAD_WIDTH, tokens=0, dropout=0.0,
        skip_scale=1.0,
    )  # fmt: skip


def _through(network: Encoder | Decoder, x: Tensor, axes: int) -> Tensor:
    """Pass [B, K, *D] through the folded layers of a network."""
    frames = x.shape[2] if axes == 3 else 1
    context = Context(None, None, None, frames)
    x = network.enter(fold(x))
    for layer in network.layers:
        x = layer(x, context)
    x = network.leave(F.silu(network.leave_norm(x)))
    return unfold(x, axes, frames).contiguous()


def _block(axes: int, patch: int) -> int:
    """Values of a block of `patch` places along each strided axis."""
    return patch if axes == 1 else patch**2
