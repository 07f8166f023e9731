"""What image and video share: levels, channels, resizing and sheets of pictures."""

from __future__ import annotations

import base64
import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as PillowImage
from torch import Tensor

from multigen.errors import MediaError

WHITE = (255, 255, 255)
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# ITU-R BT.601 luma weights, as Pillow's "L".
_LUMA = (0.299, 0.587, 0.114)
_CLIP_TOLERANCE = 1e-3
_TINY = 96  # px: pictures smaller than this are shown enlarged
_LARGEST = 512  # px: pictures larger than this are shrunk in sheets


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """`size` as (height, width); ValueError unless both are positive."""
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(
            f"size: {size!r} is not allowed. Allowed: a side or [height, width], each at least 1 pixel."
        )
    return height, width


def to_levels(media: Tensor, name: str = "media") -> np.ndarray:
    """[C, ..., H, W] in [-1, 1] -> uint8 [..., H, W, C]. Warns, and says how far, where it clips."""
    if not torch.isfinite(media).all():
        raise MediaError(f"{name}: some values are not finite (NaN or infinity)")
    low, high = (float(v) for v in torch.aminmax(media)) if media.numel() else (0.0, 0.0)
    if low < -1 - _CLIP_TOLERANCE or high > 1 + _CLIP_TOLERANCE:
        warnings.warn(f"{name}: values from {low:.3g} to {high:.3g} are clipped to [-1, 1]", stacklevel=3)
    levels = ((media.detach().float().cpu() + 1) * 127.5).round_().clamp_(0, 255).to(torch.uint8)
    return levels.movedim(0, -1).contiguous().numpy()


def from_levels(levels: np.ndarray) -> Tensor:
    """uint8 [..., H, W, C] -> float [C, ..., H, W] in [-1, 1]."""
    return torch.from_numpy(np.array(levels)).movedim(-1, 0).contiguous().float().div_(127.5).sub_(1)


def to_channels(media: Tensor, channels: int, background: tuple[int, int, int] = WHITE) -> Tensor:
    """[C, ...] -> [channels, ...] for 1 (grey), 3 (RGB) and 4 (RGB and alpha) channels.

    Alpha (-1 clear, 1 opaque) is composited on `background` (levels 0 to 255) where the target has none.
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


def cover(frames: Tensor, height: int, width: int, rng: torch.Generator | None = None) -> Tensor:
    """Resize [N, C, H, W] (antialiased, aspect kept) until it covers height x width, then crop.

    Crops at the centre, or at a place drawn from `rng`. Bicubic overshoot is clamped to [-1, 1].
    """
    h, w = frames.shape[-2:]
    scale = max(height / h, width / w)
    new = (max(height, round(h * scale)), max(width, round(w * scale)))
    if new != (h, w):
        frames = F.interpolate(frames, size=new, mode="bicubic", antialias=True, align_corners=False).clamp_(
            -1, 1
        )
    free = (new[0] - height, new[1] - width)
    if rng is None:
        top, left = free[0] // 2, free[1] // 2
    else:
        top, left = (int(torch.randint(n + 1, (), generator=rng)) for n in free)
    return frames[..., top : top + height, left : left + width].contiguous()


def picture(levels: np.ndarray) -> PillowImage.Image:
    """uint8 [H, W, C] as a Pillow image."""
    return PillowImage.fromarray(levels[..., 0] if levels.shape[-1] == 1 else levels)


def mode(channels: int, where: str) -> str:
    """Pillow's mode for a number of channels; MediaError for numbers that pictures cannot have."""
    if channels not in _MODES:
        raise MediaError(f"{where}: {channels} channels cannot be written. Allowed: 1, 3, 4.")
    return _MODES[channels]


def enlargement(height: int, width: int) -> int:
    """Whole factor that makes a tiny picture visible."""
    return max(1, _TINY // max(height, width))


def sheet(rows: Sequence[Sequence[np.ndarray]], gap: int = 4) -> PillowImage.Image:
    """Rows of uint8 [H, W, C] pictures as one RGB picture: grey gaps, tiny ones enlarged, big ones shrunk."""
    flat = [p for row in rows for p in row]
    if not flat:
        raise ValueError("preview: there is nothing to show")
    height, width = max(p.shape[0] for p in flat), max(p.shape[1] for p in flat)
    factor = enlargement(height, width)
    factor = min(factor, _LARGEST / max(height, width)) if factor == 1 else factor
    cell = (round(width * factor), round(height * factor))
    columns = max(len(row) for row in rows)
    size = (columns * (cell[0] + gap) + gap, len(rows) * (cell[1] + gap) + gap)
    out = PillowImage.new("RGB", size, (96, 96, 96))
    how = PillowImage.Resampling.NEAREST if factor >= 1 else PillowImage.Resampling.LANCZOS
    for i, row in enumerate(rows):
        for j, levels in enumerate(row):
            one = picture(levels)
            one = one.resize((max(1, round(one.width * factor)), max(1, round(one.height * factor))), how)
            place = (gap + j * (cell[0] + gap), gap + i * (cell[1] + gap))
            out.paste(one, place, one.getchannel("A") if one.mode == "RGBA" else None)
    return out


def data_url(content: bytes, kind: str) -> str:
    """Bytes embedded in HTML; `kind` is the MIME type."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
