"""Augmentation of pictures [C, H, W] and video [C, T, H, W] in [-1, 1].

Only the last two axes count, so a whole clip gets one change.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def flip(media: Tensor) -> Tensor:
    """Mirror left to right: [..., H, W] -> [..., H, W]."""
    return media.flip(-1)


def crop(media: Tensor, share: float, rng: torch.Generator) -> Tensor:
    """Crop `share` of the area at a random place, keeping the aspect ratio: [..., H, W] -> [..., h, w]."""
    height, width = media.shape[-2:]
    h, w = (max(1, round(side * math.sqrt(share))) for side in (height, width))
    top = int(torch.randint(height - h + 1, (), generator=rng))
    left = int(torch.randint(width - w + 1, (), generator=rng))
    return media[..., top : top + h, left : left + w]


def rotate_hue(media: Tensor, degrees: float) -> Tensor:
    """Rotate the hue of [3, ..., H, W] in HSV: 120 degrees turn red into green. Value and chroma stay the same.

    ValueError unless there are 3 channels.
    """
    if media.shape[0] != 3:
        raise ValueError(f"hue: {media.shape[0]} channels are not allowed. Allowed: 3 (colour).")
    red, green, blue = media.unbind(0)
    high, low = media.amax(0), media.amin(0)
    chroma = high - low
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixth = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, (blue - red) / safe + 2, (red - green) / safe + 4),
    )
    sixth = sixth + degrees / 60
    # Each channel lies below the largest value by the chroma times the distance of its corner from the hue.
    corners = [(corner + sixth) % 6 for corner in (5, 3, 1)]
    return torch.stack([high - chroma * torch.minimum(k, 4 - k).clamp(0, 1) for k in corners])


def brightness(media: Tensor, by: float) -> Tensor:
    """Add `by` (in units of [-1, 1]) and clamp to [-1, 1]."""
    return (media + by).clamp(-1, 1)


def contrast(media: Tensor, factor: float) -> Tensor:
    """Scale about the mean of all values and clamp to [-1, 1]."""
    mean = media.mean()
    return (mean + (media - mean) * factor).clamp(-1, 1)
