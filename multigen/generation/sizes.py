"""Sizes of media: how large one may be, and the windows in which a larger one is made."""

from __future__ import annotations

import math
from collections.abc import Sequence

from multigen.errors import MultigenError
from multigen.generation.parts import ModelParts

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
    return parts.codec.whole(shape) if len(shape) > 2 else shape


def window_of(parts: ModelParts, shape: tuple[int, ...], *, sliding: bool) -> tuple[int, ...] | None:
    """Sizes of the windows in model space for a medium [C, *D]; None where the model makes it in one piece.

    MultigenError where the medium is larger than the model's own size and `sliding` is off.
    """
    most = largest(parts)
    if all(n <= m for n, m in zip(shape[1:], most, strict=True)):
        return None
    if not sliding:
        raise MultigenError(
            f"the medium: {list(shape[1:])} is larger than the model's {list(most)}; cut it, or make it in windows "
            "(sliding_window=True, --sliding-window)"
        )
    return parts.codec.shape(whole_sides(parts, (shape[0], *most)))[1:]
