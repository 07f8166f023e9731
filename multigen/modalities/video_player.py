"""Videos to look at: some of their frames, and in HTML a looping player with everything embedded."""

from __future__ import annotations

import io

import numpy as np
import torch
from torch import Tensor

from multigen.modalities.contact_sheet import data_url, enlargement
from multigen.modalities.raster import to_levels
from multigen.modalities.video_encoding import encode_video


def evenly(video: Tensor, most: int) -> list[np.ndarray]:
    """Up to so many frames of [C, T, H, W], evenly spaced, the first and the last among them: uint8 [H, W, C]."""
    chosen = torch.linspace(0, video.shape[1] - 1, min(most, video.shape[1])).round().long()
    return list(to_levels(video[:, chosen], "preview"))


def player(levels: np.ndarray, fps: float) -> str:
    """A looping <video> of uint8 [T, H, W, 3] with the MP4 embedded; small ones are enlarged without smoothing."""
    file = io.BytesIO()
    encode_video(levels, file, ".mp4", fps)
    height, width = levels.shape[1:3]
    factor = enlargement(height, width) * (2 if max(height, width) <= 48 else 1)
    style = "image-rendering:pixelated" if factor > 1 else "max-width:100%;height:auto"
    size = f'width="{width * factor}" height="{height * factor}" style="{style}"'
    source = data_url(file.getvalue(), "video/mp4")
    return f'<video controls loop autoplay muted playsinline {size} src="{source}"></video>'
