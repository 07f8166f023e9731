"""The object in a picture on white: where it is, and a copy of it cut out and resized."""

from __future__ import annotations

import torch
from torch import Tensor


def middle_frame(media: Tensor) -> Tensor:
    """The picture [C, H, W] itself, or the middle frame of a video [C, T, H, W]."""
    return frame_at(media, 0.5)


def frame_at(media: Tensor, moment: float) -> Tensor:
    """The picture [C, H, W] itself, or the frame of a video [C, T, H, W] at a moment from 0 to 1."""
    return media if media.ndim == 3 else media[:, min(int(moment * media.shape[1]), media.shape[1] - 1)]


def ink(picture: Tensor) -> Tensor:
    """How far each pixel of [C, H, W] is from white, [H, W] in [0, 1]; differences as small as noise count as 0."""
    return ((1 - picture[:3]).amax(0) / 2 - 0.12).clamp(0, 1)


def cut_out(picture: Tensor, side: int = 96) -> Tensor:
    """[C, H, W] -> [3, side, side]: the object, cropped with a margin and resized; the whole picture if it is empty."""
    colour = picture[:3].expand(3, -1, -1) if picture.shape[0] in (1, 3) else on_white(picture)
    weight = ink(colour)
    total = float(weight.sum())
    if total > 0:
        y, x = (_centre(weight.sum(1)), _centre(weight.sum(0)))
        radius = 0.5 + 1.12 * max(_reach(weight.sum(1), y), _reach(weight.sum(0), x))
    else:
        y, x = picture.shape[-2] / 2 - 0.5, picture.shape[-1] / 2 - 0.5
        radius = max(picture.shape[-2:]) / 2
    grid = torch.linspace(-radius, radius, side)
    rows = (y + grid + 0.5) / picture.shape[-2] * 2 - 1
    columns = (x + grid + 0.5) / picture.shape[-1] * 2 - 1
    place = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flip(-1)[None]
    inverted = 1 - colour[None].float()  # so that padding with zeros becomes white
    return 1 - torch.nn.functional.grid_sample(inverted, place, align_corners=False)[0]


def on_white(picture: Tensor) -> Tensor:
    """[4, H, W] with alpha last -> [3, H, W], composited on white."""
    alpha = (picture[3:] + 1) / 2
    return (picture[:3] + 1) * alpha + 2 * (1 - alpha) - 1


def _centre(weight: Tensor) -> float:
    return float((weight * torch.arange(len(weight))).sum() / weight.sum())


def _reach(weight: Tensor, centre: float) -> float:
    """The distance from the centre within which 98% of the weight lies."""
    place = torch.arange(len(weight))
    distance = (place - centre).abs()
    order = distance.argsort()
    share = weight[order].cumsum(0) / weight.sum()
    return float(distance[order][int((share < 0.98).sum().clamp_max(len(weight) - 1))])
