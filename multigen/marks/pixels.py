"""Marks of pictures [C, H, W] and videos [C, T, H, W]: adding one, and finding it."""

from __future__ import annotations

import torch
from torch import Tensor

from multigen.marks.pictures import (
    BANDS,
    SIDE,
    added,
    chips_in,
    coefficients,
    luminance,
    pattern,
    residual,
    views,
)  # fmt: skip
from multigen.marks.search import Found, better, judged, search

BITS = {"image": 32, "video": 16}  # of the payload
LEAST = 32  # px; smaller pictures carry no mark
STRENGTH = 40.0  # dB under full scale
_FRAMES = 64  # most frames that the detector looks at


def mark_pixels(
    media: Tensor, key: bytes, kind: str, payload: int, strength: float, keep: Tensor | None
) -> Tensor:
    """Media with a mark. `keep`: what stays as it is, bool [H, W] or [T, H, W]."""
    sides = (media.shape[-2], media.shape[-1])
    mark = pattern(key, kind, BITS[kind], payload, sides).to(media)
    room = media.new_ones(sides) if keep is None else (~keep).to(media)
    return added(media, mark, strength, room.expand(media.shape[1:]))


def find_in_pixels(media: Tensor, key: bytes, kind: str, cuts: bool) -> Found:
    """The mark of media; with `cuts`, too, where nothing is found in the whole, as if it were cut."""
    sides, bits = (media.shape[-2], media.shape[-1]), BITS[kind]
    grey = luminance(media)
    if len(grey) > _FRAMES:
        grey = grey[torch.linspace(0, len(grey) - 1, _FRAMES).round().long()]
    best, left, seen = Found(), grey, None
    bands = BANDS if min(sides) < SIDE or kind == "video" else BANDS[:1]
    for view in views(sides):
        if view.window != seen:
            left, seen = residual(grey, view.window), view.window
        count = (view.whole[0] - view.window[0] + 1) * (view.whole[1] - view.window[1] + 1)
        for band in bands:
            chips = chips_in(key, kind, bits, view.whole, band)
            looked = count * len(bands) / view.prior
            best = better(best, search(coefficients(left, view, band), chips, bits, looked))
        if best.found or not cuts:
            break
    return judged(best)
