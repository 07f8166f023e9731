"""What images and video share: 8-bit levels, channels and resizing."""

from __future__ import annotations

import warnings

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError
from multigen.modalities.alpha import has_alpha, premultiplied, straight

WHITE = (255, 255, 255)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# ITU-R BT.601 luma weights, as Pillow's "L".
_LUMA = (0.299, 0.587, 0.114)
_CLIP_TOLERANCE = 1e-3


def height_width(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return a size as (height, width). ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(
            f"size: {size!r} is not allowed. Allowed: a side or [height, width], each at least 1 pixel."
        )
    return height, width


def to_levels(media: Tensor, name: str = "media") -> np.ndarray:
    """[C, ..., H, W] in [-1, 1] -> uint8 [..., H, W, C]. Warn of values that are clipped; MediaError if not finite."""
    if not torch.isfinite(media).all():
        raise MediaError(f"{name}: some values are not finite (NaN or infinity)")
    low, high = (float(v) for v in torch.aminmax(media)) if media.numel() else (0.0, 0.0)
    if low < -1 - _CLIP_TOLERANCE or high > 1 + _CLIP_TOLERANCE:
        warnings.warn(f"{name}: values from {low:.3g} to {high:.3g} are clipped to [-1, 1]", stacklevel=3)
    levels = ((media.detach().float().cpu() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.movedim(0, -1).contiguous().numpy()


def from_levels(levels: np.ndarray) -> Tensor:
    """uint8 [..., H, W, C] -> [C, ..., H, W] in [-1, 1], float32."""
    return torch.from_numpy(np.array(levels)).movedim(-1, 0).contiguous().float().div_(127.5).sub_(1)


def to_channels(media: Tensor, channels: int, background: tuple[int, int, int] = WHITE) -> Tensor:
    """Convert [C, ...] to [channels, ...], of 1 (grey), 3 (RGB) or 4 (RGBA) channels.

    Alpha (-1 clear, 1 opaque) is composited on `background` (levels 0 to 255) if the target has none. Grey is ITU-R
    BT.601 luma. ValueError for other numbers of channels.
    """
    have = media.shape[0]
    if have not in _MODES or channels not in _MODES:
        raise ValueError(
            f"channels: {have} -> {channels} is not allowed. Allowed: 1 (grey), 3 (RGB), 4 (RGBA)."
        )
    if have == channels:
        return media
    if have == 4:
        alpha = (media[3:] + 1) / 2
        behind = torch.tensor(background, dtype=media.dtype).div(127.5).sub(1)
        behind = behind.reshape(3, *[1] * (media.ndim - 1))
        return to_channels(behind + alpha * (media[:3] - behind), channels)
    if channels == 1:
        return (media * media.new_tensor(_LUMA).reshape(3, *[1] * (media.ndim - 1))).sum(0, keepdim=True)
    colours = media.expand(3, *media.shape[1:]) if have == 1 else media
    if channels == 4:
        return torch.cat([colours, torch.ones_like(media[:1])])
    return colours.contiguous()


def resize_to_cover(frames: Tensor, height: int, width: int, rng: torch.Generator | None = None) -> Tensor:
    """Resize [T, C, H, W] (bicubic, antialiased, aspect kept) until it covers height x width, then crop.

    The crop is central, or random with `rng`. Overshoot is clamped to [-1, 1].
    """
    h, w = frames.shape[-2:]
    scale = max(height / h, width / w)
    new = (max(height, round(h * scale)), max(width, round(w * scale)))
    if new != (h, w):
        alpha = has_alpha(frames, 1)
        frames = premultiplied(frames, 1) if alpha else frames
        frames = F.interpolate(frames, size=new, mode="bicubic", antialias=True, align_corners=False)
        frames = straight(frames, 1) if alpha else frames.clamp_(-1, 1)
    free = (new[0] - height, new[1] - width)
    if rng is None:
        top, left = free[0] // 2, free[1] // 2
    else:
        top, left = (int(torch.randint(n + 1, (), generator=rng)) for n in free)
    return frames[..., top : top + height, left : left + width].contiguous()


def to_pil(levels: np.ndarray) -> PillowImage.Image:
    """Turn uint8 [H, W, C] into a Pillow image."""
    return PillowImage.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def pil_mode(channels: int, where: str) -> str:
    """Return Pillow's mode for a number of channels. MediaError for numbers that pictures cannot have."""
    if channels not in _MODES:
        raise MediaError(f"{where}: {channels} channels cannot be written. Allowed: 1, 3, 4.")
    return _MODES[channels]
