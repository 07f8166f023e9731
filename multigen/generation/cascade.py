"""Cascades: what a request asks of each stage, and media that are given in place of what the stage before makes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from multigen.cascades import Cascade
from multigen.errors import MultigenError, errors_at
from multigen.generation.original import read_original
from multigen.generation.parts import ModelParts, check_prompt, warn_of_novelty
from multigen.generation.request import EditRequest, Request
from multigen.generation.restore import in_given_form
from multigen.generation.sizes import check_size, window_of
from multigen.modalities import Modality


@dataclass(frozen=True, eq=False)
class Enlarged:
    """A medium that is given in place of what the stage before makes.

    seen      the medium as the model sees it, [C, *d]
    shape     of what is made of it, [C, *D]
    window    sizes of the windows in model space, where that is larger than the model's own
    modality  of the user's medium, and `given` that medium [C', *d]
    """

    seen: Tensor
    shape: tuple[int, ...]
    window: tuple[int, ...] | None
    modality: Modality
    given: Tensor

    def with_made(self, made: Tensor, model: Modality) -> Tensor:
        """What was made [C, *D] in the form of the user's medium."""
        return in_given_form(made, model, self.modality, self.given)


def plan_enlargement(parts: ModelParts, edit: EditRequest) -> Enlarged:
    """The medium of an edit, which a cascade's network enlarges. MultigenError for what does not go with that."""
    assert isinstance(parts.cascade, Cascade)
    others = [name for name in edit.given if name not in ("media", "noise")]  # noise goes with restore
    if others:
        first = f" Edit it first: multigen edit {parts.recipe.stages[0]}" if parts.recipe.stages else ""
        raise MultigenError(
            f"{others[0]}: {parts.recipe.name} makes of a medium a finer one, and takes nothing beside it.{first}"
        )
    medium, own = read_original(parts, edit.media)
    plain = own.convert(medium, parts.modality).float()
    with errors_at("the medium"):
        shape = parts.cascade.after(tuple(plain.shape))
        check_size(shape)
        window = window_of(parts, shape, sliding=True)
    return Enlarged(plain, shape, window, own, medium)


def own_request(parts: ModelParts, request: Request) -> Request:
    """What a request asks of a model's own network.

    In a cascade, guidance is for the stages that have a guide: one that is `plain` follows the stage before. Pictures
    are for the last stage that takes some.
    """
    if _hands_on(parts):
        request = dataclasses.replace(request, images=())
    if parts.cascade is None or parts.recipe.guide.name != "plain" or request.edit is not None:
        return request
    return dataclasses.replace(request, guide=None, guidance_scale=None, negative_prompt=None)


def former_request(parts: ModelParts, request: Request, shape: tuple[int, ...]) -> Request:
    """What a request for media of `shape` [C, *D] asks of the stage before; sampler and overrides are not for it."""
    assert parts.cascade is not None
    before = parts.cascade.before(shape)
    axes = len(shape) - 1
    size = (before[-2], before[-1]) if before is not None and axes > 1 else None
    images = request.images if _hands_on(parts) else ()
    duration = None
    if before is not None and axes != 2:  # [C, N] or [C, T, H, W]
        duration = shape[1] * 8 / parts.modality.shape(duration=8.0)[1]
    if before is None:
        request = dataclasses.replace(request, sliding_window=False, tile=None, loop=False)
    own: dict[str, Any] = {"size": size, "duration": duration, "sampler": None, "overrides": (), "edit": None}
    return dataclasses.replace(request, **own, images=images, options={})


def _hands_on(parts: ModelParts) -> bool:
    """Whether the pictures of a request are for the stages before."""
    return isinstance(parts.cascade, Cascade) and not parts.recipe.adapters


def stage_before(parts: ModelParts) -> ModelParts:
    """The stage before a model. MultigenError where it has none."""
    if parts.former is None:
        assert parts.cascade is not None
        name = parts.recipe.name
        raise MultigenError(f"{name}: {parts.cascade.hint.format(name=name)}")
    return parts.former


def check_stages(parts: ModelParts, count: int, prompt: str) -> None:
    """MultigenError if one of so many stages before a model cannot take the prompt."""
    for _ in range(count):
        parts = stage_before(parts)
        check_prompt(parts, prompt)
        warn_of_novelty(parts, prompt)
