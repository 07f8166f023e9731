"""What moves in videos: where a thing is and how it moves, and how much changes from frame to frame."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.conditioners.extractors import Extractor, check_axes
from multigen.modalities import HEIGHT, TIME, WIDTH, Modality
from multigen.registry import Given

_VIDEO = (TIME, HEIGHT, WIDTH)
_FAINT = 0.12  # differences as small as noise count as 0


class Thing(Extractor):
    """Where the thing is that stands out of the border's colour, and how it moves: seven numbers a frame.

    Place across and height (-1 to 1), size; speed across and upwards, in picture heights a frame times 8; how the
    upward speed changes; and how much of a thing there is at all. Computed, nothing is learned.
    """

    width = 7
    axes = (TIME,)

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_axes(modality, (_VIDEO,), "thing")

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, 7, T]."""
        found = trace(media)
        speed = _steps(found[:, :2])
        turn = speed[:, 1:].diff(dim=2, append=speed[:, 1:, -1:])
        return torch.cat([found[:, :3], 8 * speed, 8 * turn, found[:, 3:]], 1)


class Motion(Extractor):
    """How much changes from frame to frame, in all and in four quarters: five numbers a frame. Computed."""

    width = 5
    axes = (TIME,)

    def __init__(self, *, modality: Given[Modality]) -> None:
        super().__init__()
        check_axes(modality, (_VIDEO,), "motion")

    def forward(self, media: Tensor) -> Tensor:
        """[B, C, T, H, W] -> [B, 5, T]."""
        change = media.diff(dim=2, prepend=media[:, :, :1]).abs().mean(1)
        quarters = torch.nn.functional.adaptive_avg_pool2d(change, 2).flatten(2).transpose(1, 2)
        return 4 * torch.cat([quarters.mean(1, keepdim=True), quarters], 1)


def trace(media: Tensor) -> Tensor:
    """[B, C, T, H, W] -> [B, 4, T]: place across, height (both -1 to 1), size and amount of what stands out.

    What stands out differs from the colour of the clip's border, its median over all frames. A frame without it has
    the place of the one before.
    """
    edges = [media[..., 0, :], media[..., -1, :], media[..., :, 0], media[..., :, -1]]
    colour = torch.cat([e.flatten(2) for e in edges], 2).median(2).values[..., None, None, None]
    weight = ((media - colour).abs().amax(1) / 2 - _FAINT).clamp(0, 1)  # [B, T, H, W]
    total = weight.sum((2, 3))
    height, width = weight.shape[2:]
    across = (torch.arange(width, device=media.device) + 0.5) * (2 / width) - 1
    up = 1 - (torch.arange(height, device=media.device) + 0.5) * (2 / height)
    part = total.clamp_min(1e-6)
    x, y = (weight.sum(2) @ across) / part, (weight.sum(3) @ up) / part
    spread = ((weight.sum(2) @ across.square()) / part - x.square()).clamp_min(0)
    spread = spread + ((weight.sum(3) @ up.square()) / part - y.square()).clamp_min(0)
    seen = total > 1e-3 * height * width
    x, y = _held(x, seen), _held(y, seen)
    return torch.stack([x, y, spread.sqrt() * seen, (4 * total / (height * width)).clamp_max(1)], 1)


def _held(values: Tensor, seen: Tensor) -> Tensor:
    """[B, T] with the last seen value where nothing is seen; 0 before the first."""
    places = torch.arange(values.shape[1], device=values.device)
    last = torch.where(seen, places, -1).cummax(1).values
    return torch.where(last >= 0, values.gather(1, last.clamp_min(0)), 0.0)


def _steps(values: Tensor) -> Tensor:
    """[B, K, T]: the step from each frame to the next; the last is that before it."""
    if values.shape[2] < 2:
        return torch.zeros_like(values)
    steps = values.diff(dim=2)
    return torch.cat([steps, steps[:, :, -1:]], 2) / 2
