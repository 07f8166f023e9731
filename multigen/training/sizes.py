"""Multi-resolution training: each step draws the size of its media, or sees a part of them.

Media are cropped and resized from those of the modality's own size, so any dataset works. The loss of a step is a mean
over values, so a size counts as often as it is drawn, however large it is. A network that only looks near, as one that
enlarges does, learns the same from parts of pictures (`train.crop`), of which many cost no more than one picture.
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

_FAR = 40.0  # log-SNR is clamped to this before it is shifted; at t = 0 and 1 it may be infinite


@dataclass(frozen=True)
class Sizes:
    """Shapes [C, *D] that steps draw from, keyed by the step alone: the rows of all ranks get the same one.

    crop  side (px) of the part of each picture or clip that is seen, at a place drawn for each; None: all of it
    """

    modality: Modality
    shapes: tuple[tuple[int, ...], ...]
    seed: int
    crop: int | None = None

    def shape(self, step: int) -> tuple[int, ...]:
        """Return the shape [C, *D] of the media of a step."""
        return self.shapes[int(uniform((1,), self.seed, "size", step) * len(self.shapes))]

    def fit(self, media: Tensor, step: int, position: int) -> Tensor:
        """Crop and resize media [C, *D] from the modality's own size to the step's, keyed by the place."""
        media = self.modality.fit(media, self.shape(step), stream(self.seed, "fit", step, position))
        return (
            media if self.crop is None else _part(media, self.crop, stream(self.seed, "crop", step, position))
        )

    @property
    def seen(self) -> tuple[tuple[int, ...], ...]:
        """The shapes [C, *D] of what the network sees."""
        side = self.crop
        return self.shapes if side is None else tuple((*shape[:-2], side, side) for shape in self.shapes)

    def crops(self, media: Tensor) -> bool:
        """Return whether any size crops the media [C, *D] at random."""
        if self.crop is not None:
            return True
        for shape in self.shapes:
            one, other = (self.modality.fit(media, shape, stream(self.seed, "crops", k)) for k in (0, 1))
            if not torch.equal(one, other):
                return True
        return False

    def scale(self, shape: tuple[int, ...]) -> float:
        """Return the factor by which pictures of shape [C, *D] are downscaled; 1 for sound, and for crops."""
        own = self.modality.shape()
        return max(new / old for new, old in zip(shape[-2:], own[-2:], strict=True)) if len(own) > 2 else 1.0

    def shifted(self, schedule: Schedule, t: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Return the times [B] at which pictures of `shape` show as much as the modality's own size does at t.

            log-SNR' = log-SNR + 2 log(own side / side)

        since a mean over more pixels has less noise (Hoogeboom et al. 2023, arXiv:2301.11093, eq. 4; for flow Esser et
        al. 2024, arXiv:2403.03206, eq. 23).
        """
        scale = self.scale(shape)
        if scale == 1:
            return t
        log_snr = schedule.log_snr(t.double()).clamp(-_FAR, _FAR) - 2 * math.log(scale)
        return schedule.inverse(log_snr).to(t.dtype)


def sizes(train: Train, modality: Modality, codec: Codec, seed: int) -> Sizes | None:
    """Build the sizes of `train.sizes` and `train.durations`; None if a training has a single size.

    Raises RecipeError for a size that the modality does not have or the codec does not take, and for one larger than
    the media.
    """
    if train.size_shift and not train.sizes:
        raise RecipeError(
            "train.size_shift: true is not allowed without train.sizes, whose smaller pictures it is for."
        )
    if train.crop is not None and (train.size_shift or len(modality.shape()) < 3):
        what = (
            "with train.size_shift"
            if train.size_shift
            else f"for {modality.name}: it is for pictures and videos"
        )
        raise RecipeError(f"train.crop: {train.crop} is not allowed {what}. Allowed: null.")
    if not (train.sizes or train.durations or train.crop):
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
                    f"{list(shape[1:])} is larger than the modality's own size {list(own[1:])}, from which media are "
                    "cropped. Allowed: up to that size, or set a larger one for the modality."
                )
            codec.shape(shape)
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from error
        shapes.append(shape)
    found = Sizes(modality, tuple(shapes), seed, train.crop)
    _check_crop(found, codec)
    return found


def _check_crop(found: Sizes, codec: Codec) -> None:
    """Raise RecipeError for parts that are larger than their pictures, or that the codec does not take."""
    least = min(min(shape[-2:]) for shape in found.shapes)
    if found.crop is not None and found.crop > least:
        raise RecipeError(
            f"train.crop: {found.crop} is not allowed. Allowed: up to {least}, the least side, or null."
        )
    try:
        for shape in found.seen:
            codec.shape(shape)
    except ValueError as error:
        raise RecipeError(f"train.crop: {found.crop}: {error}") from error


def check_network(found: Sizes, codec: Codec, network: Any, spec: CondSpec) -> None:
    """Raise RecipeError if a backbone, on the meta device, does not take one of the sizes."""
    for shape in dict.fromkeys(found.seen):
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
            except NotImplementedError:  # it cannot run on the meta device
                return
            except (ValueError, RuntimeError) as error:
                reason = str(error).splitlines()[0]
                raise RecipeError(
                    f"train.sizes, train.durations, train.crop: the backbone does not take media of {list(shape[1:])} "
                    f"({reason})"
                ) from error


def _part(media: Tensor, side: int, rng: torch.Generator) -> Tensor:
    """A part of that side of media [C, ..., H, W], anywhere."""
    top, left = (int(torch.randint(n - side + 1, (), generator=rng)) for n in media.shape[-2:])
    return media[..., top : top + side, left : left + side]


def _shown(size: int | tuple[int, int]) -> str:
    return str(size if isinstance(size, int) else list(size))
