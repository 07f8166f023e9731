"""What is drawn in pictures: the picture itself, its luminance, and its edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.conditioners.extractors import Extractor, check_axes
from multigen.modalities import HEIGHT, TIME, WIDTH, Modality
from multigen.registry import Given

_PICTURES = ((HEIGHT, WIDTH), (TIME, HEIGHT, WIDTH))
_WEIGHTS = (0.299, 0.587, 0.114)  # of luminance, ITU-R BT.601
_EDGE = 0.25  # of full contrast, over which a step is an edge in full


class Picture(Extractor):
    """Every pixel as it is, in its channels. Computed."""

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_axes(modality, _PICTURES, "picture")
        self.width, self.axes = modality.shape()[0], modality.axes

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, *D] as it is."""
        return media


class Luminance(Extractor):
    """How light each pixel is, -1 to 1. Computed."""

    width = 1

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_axes(modality, _PICTURES, "luminance")
        self.axes = modality.axes

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, *D] -> [B, 1, *D]."""
        return luminance(media)


class Edges(Extractor):
    """Where colours change: 1 on an edge, 0 elsewhere. Computed, from the steps of every colour (Sobel)."""

    width = 1

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_axes(modality, _PICTURES, "edges")
        self.axes = modality.axes

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, *D] -> [B, 1, *D]."""
        if media.ndim == 4:
            return edges(media)
        return edges(media.transpose(1, 2).flatten(0, 1)).unflatten(0, (len(media), -1)).transpose(1, 2)


def luminance(media: Tensor) -> Tensor:
    """[B, C, *D] in [-1, 1] -> [B, 1, *D]: of three colours and more by BT.601; alpha counts as white below."""
    if media.shape[1] < 3:
        return media[:, :1]
    weights = torch.tensor(_WEIGHTS).to(media).reshape(3, *[1] * (media.ndim - 2))
    return (on_white(media) * weights).sum(1, keepdim=True)


def edges(pictures: Tensor) -> Tensor:
    """[B, C, H, W] in [-1, 1] -> [B, 1, H, W] in [0, 1]: thin lines where any colour changes by much.

    Sobel's gradient of each colour; the largest counts, and of a slope only its ridge stays.
    """
    colours = on_white(pictures)
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]).to(colours) / 8
    count = colours.shape[1]
    both = torch.stack([kernel, kernel.T])[:, None].repeat(count, 1, 1, 1)
    gradient = F.conv2d(F.pad(colours, (1, 1, 1, 1), mode="replicate"), both, groups=count)
    gradient = gradient.unflatten(1, (count, 2))  # of x and of y
    size = gradient.square().sum(2).sqrt()
    size, best = size.max(1, keepdim=True)
    way = gradient.gather(1, best[:, :, None].expand(-1, -1, 2, -1, -1))[:, 0]
    return _thin(size, way) * (size / _EDGE).clamp(0, 1)


def _thin(size: Tensor, way: Tensor) -> Tensor:
    """1 where the gradient [B, 1, H, W] is largest along its way [B, 2, H, W], rounded to 45 degrees; else 0."""
    height, width = size.shape[2:]
    padded = F.pad(size, (1, 1, 1, 1))
    turn = torch.atan2(way[:, 1:], way[:, :1])
    eighth = (turn / (torch.pi / 4)).round().long() % 4
    keep = torch.zeros_like(size, dtype=torch.bool)
    for k, (dy, dx) in enumerate(((0, 1), (1, 1), (1, 0), (1, -1))):
        ahead = padded[:, :, 1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
        behind = padded[:, :, 1 - dy : 1 - dy + height, 1 - dx : 1 - dx + width]
        keep |= (eighth == k) & (size >= ahead) & (size > behind)
    return keep.to(size)


def on_white(media: Tensor) -> Tensor:
    """[B, C, *D] -> colours alone: an alpha channel, the fourth, is laid on white."""
    if media.shape[1] != 4:
        return media
    alpha = (media[:, 3:] + 1) / 2
    return (media[:, :3] + 1) * alpha + 2 * (1 - alpha) - 1
