"""The space that a medium has in its model."""

from __future__ import annotations

import math

from multigen.generation.circles import Circles, asked_circles, circles_of
from multigen.generation.edit import Start
from multigen.generation.last_frame import check_last
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.generation.shown import check_beginning
from multigen.generation.sizes import check_size, check_uncut, whole_sides


def space_of(
    parts: ModelParts, start: Start, request: Request
) -> tuple[Start, tuple[int, ...], int, Circles]:
    """What it begins with, the shape in model space, how many places the network sees at once, and which ends meet.

    ValueError for what the codec or the network cannot make.
    """
    check_size(start.shape)
    backbone, codec = parts.denoiser.backbone, parts.codec
    # A circle cannot be cut: its sides are those that the codec takes.
    around = bool(request.tile or request.loop)
    shape = codec.shape(start.shape if around else whole_sides(parts, start.shape))
    circles = circles_of(backbone, asked_circles(request, codec, start.shape), shape, start.window)
    if circles.windows and start.window is None:
        start = start._replace(window=shape[1:])
        _check_windows(parts, start, request)
    seen = shape if start.window is None else (shape[0], *start.window)
    backbone.check_shape(seen)
    return start, shape, math.prod(seen[1:]), circles


def _check_windows(parts: ModelParts, start: Start, request: Request) -> None:
    """MultigenError for what is not made in windows, where a circle alone needs them."""
    check_uncut(parts)
    check_beginning(parts, start.edit or start.known or start.enlarged, start.window)
    if start.edit is not None and request.edit is not None and request.edit.last is not None:
        check_last(parts, start.edit.source, start.window)
