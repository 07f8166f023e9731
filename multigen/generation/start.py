"""What a medium begins with: its shape, and in an edit its source."""

from __future__ import annotations

import logging

from multigen.errors import MultigenError, errors_at
from multigen.generation.circles import check_circles, closes_time, whole_circle
from multigen.generation.edit import Start, plan_edit
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.generation.shown import check_beginning
from multigen.generation.sizes import largest, window_of
from multigen.recipe.schema import Recipe

log = logging.getLogger(__name__)


def start_of(parts: ModelParts, recipe: Recipe, request: Request) -> Start:
    """What the medium begins with."""
    if request.edit is not None:
        if request.size is not None or request.duration is not None:
            raise MultigenError("size, duration: an edit is as large as its medium; extend adds to it")
        start = plan_edit(parts, request)
        check_beginning(parts, start.edit, start.window)
        return start
    check_beginning(parts, None, None)
    size = recipe.sample.size if request.size is None else request.size
    duration = recipe.sample.duration if request.duration is None else request.duration
    with errors_at("size or duration"):
        shape = parts.modality.shape(size, duration)
        check_circles(request, len(shape) - 1)
        if closes_time(request, len(shape) - 1):
            shape = whole_circle(parts.codec, parts.denoiser.backbone, shape)
    window = window_of(parts, shape, sliding=True) if request.sliding_window else None
    if window is not None:
        by = " x ".join(map(str, largest(parts)))
        log.info(
            "made in overlapping windows of %s: each is a medium of the model's own, so that things repeat or go on; "
            "one large thing needs a model of that size",
            by,
        )
    return Start(shape, window)


def media_of(start: Start) -> tuple[int, ...]:
    """The shape [C, *D] of what is made: of an edit what its model sees, of a restoration what was asked for."""
    if start.edit is not None:
        return (start.shape[0], *start.edit.original.view.size)
    return start.shape if start.known is None else (start.shape[0], *start.known.size)
