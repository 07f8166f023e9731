"""Restorations: the medium that an operator made the user's of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, errors_at
from multigen.generation.masks import Source
from multigen.generation.operators import Operator
from multigen.generation.original import in_form, read_original
from multigen.generation.part_like import operator_part
from multigen.generation.parts import ModelParts
from multigen.generation.request import Request
from multigen.generation.sizes import check_size, window_of
from multigen.generation.view import View, identity
from multigen.modalities import Modality

_MOST = (
    64  # samples or pixels by which a medium grows at an edge until the codec takes what it is restored to
)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a medium that is restored: what `operator` gives of it, [1, ...], and how exactly.

    shape     of the medium in which it is made, [C, *D]; of that, `size` [*D] is what was asked for
    window    sizes of the windows in model space of one that is larger than the model's own
    modality  of the user's medium, and `given` that medium [C', *d]
    """

    operator: Operator
    values: Tensor
    noise: float
    shape: tuple[int, ...]
    size: tuple[int, ...]
    window: tuple[int, ...] | None
    modality: Modality
    given: Tensor

    def with_made(self, made: Tensor, model: Modality) -> Tensor:
        """What was made [C, *size] in the form of the user's medium."""
        return in_given_form(made, model, self.modality, self.given)


def in_given_form(made: Tensor, model: Modality, own: Modality, given: Tensor) -> Tensor:
    """What a model made of a medium `given` [C', *d] of the user's, [C, *D], in that medium's form at its new size."""
    if made.ndim == 2:
        return in_form(made, model, own, Source(given))
    new = model.convert(made, own)
    if len(given) != 4 or len(made) == 4:
        return new
    if new.ndim > 3:
        return new
    # A picture keeps its alpha, at its new size.
    sides = tuple(new.shape[1:])
    view = View((0, 0), (given.shape[1], given.shape[2]), (sides[0], sides[1]), sides)
    return torch.cat([new[:3], view.seen(given[3:])])


def plan_restoration(parts: ModelParts, request: Request) -> Known:
    """What is known of the whole medium. MultigenError for what does not fit the model, before any network call."""
    edit = request.edit
    assert edit is not None
    assert edit.restore is not None
    part = operator_part(edit.restore)
    given = {"modality": parts.modality, "codec": parts.codec}
    operator: Operator = registry.build("operator", part, where="operator", given=given)
    medium, own = read_original(parts, edit.media)
    plain = own.convert(medium, parts.modality).float()
    with errors_at("the medium"):
        size = operator.whole(tuple(plain.shape))
        grown, whole = _grown(parts, operator, tuple(plain.shape))
        check_size(whole)
        window = window_of(parts, size, sliding=True)
        shape = parts.codec.shape(whole)
    sides = tuple(plain.shape[1:])
    view = identity(sides)
    plain = View(view.start, view.length, view.size, grown[1:]).seen(plain)
    with torch.no_grad():
        values = operator.measured(plain[None].to(parts.device))
        there = tuple(operator(torch.zeros(1, *shape, device=parts.device)).shape)
    if there[1:] != tuple(values.shape[1:]):
        raise MultigenError(
            f"the medium: {list(values.shape[1:])} is known of it; {part.name} gives {list(there[1:])}"
        )
    return Known(operator, values, edit.noise, whole, size[1:], window, own, medium)


def _grown(
    parts: ModelParts, operator: Operator, shape: tuple[int, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The least medium, from one of `shape` on, that is restored to one which the codec takes; and that one's shape."""
    if len(shape) == 2:
        grown = parts.codec.whole(shape)
        return grown, operator.whole(grown)
    sides = list(shape)
    for axis in (-2, -1):
        for _ in range(_MOST):
            whole = operator.whole(tuple(sides))
            if parts.codec.whole(whole)[axis] == whole[axis]:
                break
            sides[axis] += 1
    grown, whole = tuple(sides), operator.whole(tuple(sides))
    if parts.codec.whole(whole) != whole:
        raise ValueError(f"{list(shape[1:])} cannot be restored to a size that the codec takes")
    return grown, whole
