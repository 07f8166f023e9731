"""The space that a medium has in its model."""

from __future__ import annotations

import math
from collections.abc import Sequence

from multigen.errors import MultigenError
from multigen.generation.circles import Circles, asked_circles, circles_of
from multigen.generation.edit import Start
from multigen.generation.last_frame import check_last
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.generation.shown import check_beginning
from multigen.generation.sizes import check_size, check_uncut, whole_sides
from multigen.registry import Part


def space_of(
    parts: ModelParts, start: Start, request: Request, guides: Sequence[Part] = ()
) -> tuple[Start, tuple[int, ...], int, Circles]:
    """What it begins with, the shape in model space, how many places the network sees at once, and which ends meet.

    guides  the guide and the modifiers, which may call another network

    ValueError for what the codec or the network cannot make.
    """
    check_size(start.shape)
    backbone, codec = parts.denoiser.backbone, parts.codec
    # A circle cannot be cut: its sides are those that the codec takes.
    around = bool(request.tile or request.loop)
    shape = codec.shape(start.shape if around else whole_sides(parts, start.shape))
    asked = asked_circles(request, codec, start.shape)
    circles = circles_of(backbone, asked, shape, start.window)
    if circles.network:
        for weights in _others(guides):
            other = circles_of(parts.load_denoiser(weights).backbone, asked, shape, start.window)
            if not set(circles.network.axes) <= set(other.network.axes):
                raise MultigenError(
                    f"tile, loop: the network of {weights}, by which the guide leads, does not close what the model's "
                    "own closes. Take another guide, such as guide={name: cfg, scale: 2}"
                )
    if circles.windows and start.window is None:
        start = start._replace(window=shape[1:])
        _check_windows(parts, start, request)
    seen = shape if start.window is None else (shape[0], *start.window)
    backbone.check_shape(seen)
    return start, shape, math.prod(seen[1:]), circles


def _others(guides: Sequence[Part]) -> list[str]:
    """The weights of other networks that guides and modifiers call."""
    called = [part for part in guides if part.name == "autoguidance" and part.args.get("scale") != 1]
    return [str(part.args["weights"]) for part in called if "weights" in part.args]


def _check_windows(parts: ModelParts, start: Start, request: Request) -> None:
    """MultigenError for what is not made in windows, where a circle alone needs them."""
    check_uncut(parts)
    check_beginning(parts, start.edit or start.known or start.enlarged, start.window)
    if start.edit is not None and request.edit is not None and request.edit.last is not None:
        check_last(parts, start.edit.source, start.window)
