"""Sizes of media: how large one may be, and the windows in which a larger one is made."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from multigen.conditioners import Extent
from multigen.errors import MultigenError, errors_at
from multigen.generation.declared import Opener
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request

LARGEST = 1_000_000_000  # values of one medium, 4 GB


def check_size(shape: Sequence[int]) -> None:
    """MultigenError for a medium [C, *D] that would not fit into memory."""
    if math.prod(shape) > LARGEST:
        by = " x ".join(map(str, shape[1:]))
        raise MultigenError(f"a medium of {by} is not allowed; it may have {LARGEST:,} values at most")


def largest(parts: ModelParts) -> tuple[int, ...]:
    """The sides [*D] of the largest medium that the model makes in one piece: its own, or the recipe's."""
    settings = parts.recipe.sample
    natural, asked = parts.modality.shape(), parts.modality.shape(settings.size, settings.duration)
    return tuple(max(pair) for pair in zip(natural[1:], asked[1:], strict=True))


def whole_sides(parts: ModelParts, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape [C, *D] in which a medium is made, of which it is a part: sides that the codec takes."""
    return parts.codec.whole(shape)


def prompt_extent(parts: ModelParts, request: Request, opener: Opener | None = None) -> Extent | None:
    """How large the medium is that a request's prompt asks for; None where a prompt says nothing of it."""
    options = (opener or Opener(parts))(parts.recipe, request)
    with errors_at("prompt"):
        return parts.conditioner.extent(request.prompt, options)


def with_extent(parts: ModelParts, request: Request, opener: Opener | None = None) -> Request:
    """The request at the size that its prompt asks for, where neither it nor the recipe says one.

    What is larger than the model's own size is then made in windows, as nobody asked for a size. MultigenError for a
    prompt or an option that the conditioner cannot take.
    """
    settings = parts.recipe.sample
    said = (request.size, request.duration, settings.size, settings.duration)
    if request.edit is not None or any(one is not None for one in said):
        return request
    found = prompt_extent(parts, request, opener)
    if found is None:
        return request
    with errors_at("the prompt's medium"):
        shape = parts.modality.shape(found.size, found.duration)
    larger = any(n > most for n, most in zip(shape[1:], largest(parts), strict=True))
    return dataclasses.replace(
        request, size=found.size, duration=found.duration, sliding_window=request.sliding_window or larger
    )


def extent(parts: ModelParts, shape: Sequence[int]) -> str:
    """The size of a medium [C, *D] for people: seconds of what has a time, width x height of what has a picture."""
    said = []
    if len(shape) != 3:  # [C, N] or [C, T, H, W]
        try:
            rate = parts.modality.shape(duration=8.0)[1] / 8
        except ValueError:  # a modality without time
            return " x ".join(map(str, shape[1:]))
        said.append(f"{shape[1] / rate:.4g} s")
    if len(shape) > 2:
        said.append(f"{shape[-1]} x {shape[-2]} pixels")
    return " of ".join(said)


def check_uncut(parts: ModelParts) -> None:
    """MultigenError where an adapter shows pictures of a medium that is made in one piece."""
    if any(adapter.name == "controlnet" for adapter in parts.recipe.adapters):
        raise MultigenError(
            "adapters: the pictures of ControlNets show a medium that is made in one piece, not in windows"
        )


def window_of(parts: ModelParts, shape: tuple[int, ...], *, sliding: bool) -> tuple[int, ...] | None:
    """Sizes of the windows in model space for a medium [C, *D]; None where the model makes it in one piece.

    MultigenError where the medium is larger than the model's own size and `sliding` is off.
    """
    most = largest(parts)
    if all(n <= m for n, m in zip(shape[1:], most, strict=True)):
        return None
    if not sliding:
        given, own = extent(parts, shape), extent(parts, (shape[0], *most))
        raise MultigenError(
            f"the medium: {given} is larger than the model's {own}; cut it, or make it in windows with "
            "--sliding-window (in Python sliding_window=True)"
        )
    check_uncut(parts)
    return parts.codec.shape(whole_sides(parts, (shape[0], *most)))[1:]
