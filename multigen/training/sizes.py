"""Multi-resolution training: media of one size in one step, of another in the next.

Media are cut and resized from those of the modality's own size, so that any dataset serves. A step's loss is a mean
over its values: each size counts as often as it is drawn, however large it is.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from multigen.codecs import Codec
from multigen.core.conditioning import Cond, CondSpec
from multigen.core.noise import stream, uniform
from multigen.core.schedules import Schedule
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.recipe.schema import Train

# log-SNR beyond which a shift of some units means nothing; at t = 0 and 1 it may be infinite.
_FAR = 40.0


@dataclass(frozen=True)
class Sizes:
    """The shapes [C, *D] of media that steps draw from, by the step alone: every row of every process has the same."""

    modality: Modality
    shapes: tuple[tuple[int, ...], ...]
    seed: int

    def shape(self, step: int) -> tuple[int, ...]:
        """[C, *D] of the media of a step."""
        return self.shapes[int(uniform((1,), self.seed, "size", step) * len(self.shapes))]

    def fit(self, media: Tensor, step: int, position: int) -> Tensor:
        """[C, *D] of the modality's own size -> that of the step; what is cropped is keyed by the place."""
        return self.modality.fit(media, self.shape(step), stream(self.seed, "fit", step, position))

    def crops(self, media: Tensor) -> bool:
        """Whether any size takes a part of the media [C, *D], drawn anew each time, and not all of it."""
        for shape in self.shapes:
            one, other = (self.modality.fit(media, shape, stream(self.seed, "crops", k)) for k in (0, 1))
            if not torch.equal(one, other):
                return True
        return False

    def scale(self, shape: tuple[int, ...]) -> float:
        """How many times smaller than their own size pictures of [C, *D] are drawn: 1 for sound, and for crops."""
        own = self.modality.shape()
        return max(new / old for new, old in zip(shape[-2:], own[-2:], strict=True)) if len(own) > 2 else 1.0

    def shifted(self, schedule: Schedule, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The times [B] at which pictures of `shape` show as much as those of the modality's own size do at t.

        log-SNR + 2 log(own side / side): a mean over more pixels has less noise (Hoogeboom et al. 2023,
        arXiv:2301.11093, eq. 4; for flow Esser et al. 2024, arXiv:2403.03206, eq. 23).
        """
        scale = self.scale(shape)
        if scale == 1:
            return t
        log_snr = schedule.log_snr(t.double()).clamp(-_FAR, _FAR) - 2 * math.log(scale)
        return schedule.inverse(log_snr).to(t.dtype)


def sizes(train: Train, modality: Modality, codec: Codec, seed: int) -> Sizes | None:
    """What `train.sizes` and `train.durations` mean; None where a training has one size only.

    RecipeError for what the modality has not, media are not large enough for, or the codec does not take.
    """
    if train.size_shift and not train.sizes:
        raise RecipeError(
            "train.size_shift: true is not allowed without train.sizes: it is of pictures that shrink."
        )
    if not (train.sizes or train.durations):
        return None
    shapes = []
    for size, duration in itertools.product(train.sizes or [None], train.durations or [None]):
        given = [f"train.sizes: {_shown(size)}"] if size is not None else []
        given += [f"train.durations: {duration:g} s"] if duration is not None else []
        place = ", ".join(given)
        try:
            shape, own = modality.shape(size, duration), modality.shape()
            if any(new > old for new, old in zip(shape, own, strict=True)):
                raise ValueError(
                    f"{list(shape[1:])} is larger than the modality's own {list(own[1:])}, from which media are cut. "
                    "Allowed: up to that; a larger modality makes room."
                )
            codec.shape(shape)
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from error
        shapes.append(shape)
    return Sizes(modality, tuple(shapes), seed)


def check_network(found: Sizes, codec: Codec, network: Any, spec: CondSpec) -> None:
    """RecipeError if a backbone on the meta device does not take one of the sizes."""
    for shape in dict.fromkeys(found.shapes):
        size = codec.shape(shape)
        with torch.device("meta"):
            cond = Cond(
                vector=torch.zeros(1, spec.vector) if spec.vector else None,
                tokens=torch.zeros(1, 1, spec.tokens) if spec.tokens else None,
                mask=torch.ones(1, 1, dtype=torch.bool) if spec.tokens else None,
                grid=torch.zeros(1, spec.grid, *size[1:]) if spec.grid else None,
            )
            try:
                network(torch.zeros(1, *size), torch.zeros(1), cond)
            except NotImplementedError:  # nothing is known of it without numbers
                return
            except (ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise RecipeError(
                    f"train.sizes, train.durations: the backbone does not take media of {list(shape[1:])} ({reason})"
                ) from error


def _shown(size: int | tuple[int, int]) -> str:
    return str(size if isinstance(size, int) else list(size))
