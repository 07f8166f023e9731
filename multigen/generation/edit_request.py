"""Changes: what a medium is made from where that is another medium, in Python's terms. See `edit_text` for a user's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from multigen import registry
from multigen.errors import MultigenError, refused
from multigen.generation.masking import prepared, seam_of
from multigen.generation.operators import Operator
from multigen.generation.request import Edit, Known, Start, Wish
from multigen.modalities.media import Media
from multigen.registry import Part

if TYPE_CHECKING:
    from multigen.generation.generate import Maker


@dataclass(frozen=True, eq=False)
class Change:
    """A medium that is varied, filled, grown or restyled: the arguments of `Model.edit`, under their names."""

    media: Media | Tensor | str | Path
    strength: float | None = None
    keep: Tensor | None = None
    extend: Sequence[int] = ()
    seam: int | None = None
    resample: int = 1
    invert: str | None = None

    def start(self, model: Maker, wish: Wish) -> Start:
        """MultigenError for what does not fit the model, before anything is encoded."""
        source = prepared(model.read(self.media), self.keep, self.extend)
        most = max(source.media.shape[1:])
        seam = min(seam_of(model.modality), most) if self.seam is None else self.seam
        if self.resample < 1:
            raise MultigenError(f"resample: {self.resample} is not allowed; give 1 or more")
        if not 0 <= seam <= most:
            raise MultigenError(f"seam: {seam:.6g} is not allowed; the medium has room for 0 to {most}")
        strength = (0.6 if source.keep is None else 1.0) if self.strength is None else self.strength
        if not 0 < strength <= 1:
            raise MultigenError(f"strength: {strength} is not allowed; give a number over 0, to 1")
        if self.invert is not None:
            model.check_prompts([self.invert])
        shape = tuple(source.media.shape)
        edit = Edit(source, seam, model.codec, model.device, strength, self.resample, self.invert)
        return Start(shape, model.window(shape, wish.long), edit)


@dataclass(frozen=True, eq=False)
class Restoration:
    """A medium of which `operator` gives what is there: the arguments of `Model.restore`, under their names."""

    media: Media | Tensor | str | Path
    operator: Part
    noise: float = 0.02

    def start(self, model: Maker, wish: Wish) -> Start:
        """MultigenError for what does not fit the model, before any network call."""
        if not (self.noise >= 0 and math.isfinite(self.noise)):
            raise MultigenError(f"noise: {self.noise} is not allowed; give a number, 0 or more")
        if wish.long or wish.wrap:
            raise MultigenError("long, wrap: a medium is restored as a whole; cut it into parts")
        given = {"modality": model.modality, "codec": model.codec}
        operator: Operator = registry.build("operator", self.operator, where="operator", given=given)
        medium = model.read(self.media)
        with refused("the medium"):
            whole = operator.whole(tuple(medium.shape))
            if model.window(whole, long=True) is not None:
                raise MultigenError(
                    f"the medium: {list(whole[1:])} when restored is larger than the model's own; cut it into parts"
                )
            shape = model.codec.shape(whole)
        with torch.no_grad():
            values = operator.measured(medium[None].to(model.device))
            there = tuple(operator(torch.zeros(1, *shape, device=model.device)).shape)
        if there[1:] != tuple(values.shape[1:]):
            raise MultigenError(
                f"the medium: {list(values.shape[1:])} is known of it; {self.operator.name} gives {list(there[1:])}"
            )
        return Start(whole, known=Known(operator, values, self.noise))
