"""Edits as a model sees them: the source in model space, what of it is kept, what is known of a restored medium."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from multigen import registry
from multigen.codecs import Codec
from multigen.errors import MultigenError, errors_at
from multigen.generation.masks import Source, default_feather, picture_mask, prepared, spliced
from multigen.generation.operators import Operator
from multigen.generation.parts import ModelParts, check_prompt, read_medium
from multigen.generation.request import EditRequest, Request, operator_part
from multigen.generation.sizes import window_of
from multigen.generation.spans import amounts, spans
from multigen.registry import Part


class Start(NamedTuple):
    """What a medium begins with: its shape [C, *D], the sizes of its windows in model space, and what is known."""

    shape: tuple[int, ...]
    window: tuple[int, ...] | None = None
    edit: EditPlan | None = None
    known: Known | None = None


@dataclass(frozen=True, eq=False)
class EditPlan:
    """An edit begins with its source; within `feather` what is kept of it fades into what is made.

    strength  share of the way back to noise
    resample  how often each step is taken
    invert    a prompt: start from the noise that leads to the source under it, in place of random noise
    """

    source: Source
    feather: int
    codec: Codec
    device: torch.device
    strength: float = 1.0
    resample: int = 1
    invert: str | None = None

    @cached_property
    def x0(self) -> Tensor:
        """The source in model space, [1, C, *D]. Encoded when it is first asked for: a codec may be a network."""
        with torch.no_grad():
            return self.codec.encode(self.source.media[None].to(self.device))

    @cached_property
    def keep(self) -> Tensor | None:
        """What of x0 stays, bool [*D]."""
        return None if self.source.keep is None else self.codec.latent_mask(self.source.keep).to(self.device)

    def spliced(self, made: Tensor) -> Tensor:
        """The decoded medium [C, *D], with what is kept as it was."""
        return spliced(made, self.source, self.feather)


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of a medium that is restored: what `operator` gives of it, [1, ...], and how exactly."""

    operator: Operator
    values: Tensor
    noise: float


def plan_edit(parts: ModelParts, request: Request) -> Start:
    """Resolve the edit of a request. MultigenError for what does not fit the model, before any network call."""
    edit = request.edit
    assert edit is not None
    if edit.restore is not None:
        return _restoration(parts, edit, operator_part(edit.restore), request)
    medium = read_medium(parts, edit.media)
    source = prepared(medium, _kept(parts, edit, medium), _extended(parts, edit, medium))
    most = max(source.media.shape[1:])
    feather = min(default_feather(parts.modality), most) if edit.feather is None else _feather(parts, edit)
    if edit.resample < 1:
        raise MultigenError(f"resample: {edit.resample} is not allowed; give 1 or more")
    if not 0 <= feather <= most:
        given = f"{edit.feather:.6g}"
        limit = most if len(source.media.shape) > 2 else most / _rate(parts)
        raise MultigenError(f"feather: {given} is not allowed; the medium has room for 0 to {limit:.6g}")
    strength = (0.6 if source.keep is None else 1.0) if edit.strength is None else edit.strength
    if not 0 < strength <= 1:
        raise MultigenError(f"strength: {strength} is not allowed; give a number over 0, to 1")
    if edit.invert is not None:
        check_prompt(parts, edit.invert)
    shape = tuple(source.media.shape)
    made = EditPlan(source, feather, parts.codec, parts.device, strength, edit.resample, edit.invert)
    return Start(shape, window_of(parts, shape, sliding=request.sliding_window), made)


def _rate(parts: ModelParts) -> float:
    """Samples or frames a second; 1 for pictures."""
    shape = parts.modality.shape()
    return 1.0 if len(shape) == 3 else float(parts.modality.shape(duration=8.0)[1]) / 8


def _kept(parts: ModelParts, edit: EditRequest, medium: Tensor) -> Tensor | None:
    """What mask and spans keep of the medium, bool; None: nothing is said."""
    axes = medium.ndim - 1
    keep = None if edit.mask is None else picture_mask(Path(edit.mask), medium)
    if edit.keep is None:
        return keep
    if isinstance(edit.keep, str):
        if axes == 2:
            raise MultigenError("keep: a picture has no time; give a mask, a picture")
        stays = spans(edit.keep, medium.shape[1], _rate(parts)).view(-1, *[1] * (axes - 1))
        stays = stays.expand(medium.shape[1:])
    else:
        stays = edit.keep
    return stays if keep is None else keep | stays


def _extended(parts: ModelParts, edit: EditRequest, medium: Tensor) -> Sequence[int]:
    """How much is added before and after each axis, from the last one on."""
    if edit.extend is None:
        return ()
    if isinstance(edit.extend, str | int):
        return amounts(str(edit.extend), medium.ndim - 1, _rate(parts))
    return edit.extend


def _feather(parts: ModelParts, edit: EditRequest) -> int:
    """In samples, pixels or frames."""
    assert edit.feather is not None
    if not math.isfinite(edit.feather):
        raise MultigenError(f"feather: {edit.feather} is not allowed; give seconds of sound, or pixels")
    sound = len(parts.modality.shape()) == 2
    return round(edit.feather * (_rate(parts) if sound else 1))


def _restoration(parts: ModelParts, edit: EditRequest, part: Part, request: Request) -> Start:
    """What is known of the whole medium, of which the operator gives the user's."""
    if not (edit.noise >= 0 and math.isfinite(edit.noise)):
        raise MultigenError(f"noise: {edit.noise} is not allowed; give a number, 0 or more")
    if request.sliding_window or request.tile:
        raise MultigenError(
            "sliding_window, tile: they do not go with restore; a medium is restored in one piece"
        )
    given = {"modality": parts.modality, "codec": parts.codec}
    operator: Operator = registry.build("operator", part, where="operator", given=given)
    medium = read_medium(parts, edit.media)
    with errors_at("the medium"):
        whole = operator.whole(tuple(medium.shape))
        if window_of(parts, whole, sliding=True) is not None:
            raise MultigenError(
                f"the medium: {list(whole[1:])} when restored is larger than the model's own; cut it into parts"
            )
        shape = parts.codec.shape(whole)
    with torch.no_grad():
        values = operator.measured(medium[None].to(parts.device))
        there = tuple(operator(torch.zeros(1, *shape, device=parts.device)).shape)
    if there[1:] != tuple(values.shape[1:]):
        raise MultigenError(
            f"the medium: {list(values.shape[1:])} is known of it; {part.name} gives {list(there[1:])}"
        )
    return Start(whole, known=Known(operator, values, edit.noise))
