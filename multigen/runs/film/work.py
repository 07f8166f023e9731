"""What a model makes of a window of a clip: frames between frames, or larger ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from multigen import registry
from multigen.cascades import Cascade
from multigen.codecs import Codec
from multigen.errors import MultigenError, errors_at
from multigen.generation.operators import Operator
from multigen.generation.part_like import PartLike, operator_part
from multigen.generation.request import EditRequest
from multigen.generation.sizes import largest
from multigen.modalities.video import Video
from multigen.model.model import Model

_TIMES = 8  # at most as many frames for one: what moves farther than a block sees is guessed


@dataclass(frozen=True)
class Work:
    """One pass over a clip.

    frames   of the clip in a window
    block    height and width of a block of its frames, pixels
    factors  how many times as many frames, rows and columns are made
    edit     a block [C, frames, height, width] as a request
    """

    frames: int
    block: tuple[int, int]
    factors: tuple[int, int, int]
    edit: Callable[[Tensor], EditRequest]

    @property
    def shared(self) -> int:
        """Frames that two windows have in common."""
        return max(min(2, self.frames // 2), self.frames // 4)

    def within(self, size: tuple[int, int], codec: Codec) -> Work:
        """The same with blocks that are no larger than frames of a size, (height, width), and what the codec takes."""
        times, tall, wide = self.factors
        height, width = (min(pair) for pair in zip(self.block, size, strict=True))
        *_, high, broad = codec.whole((3, self.frames * times, height * tall, width * wide))
        return dataclasses.replace(self, block=(-(-high // tall), -(-broad // wide)))


def works(model: Model, times: int | None, restore: PartLike | None) -> list[Work]:
    """The passes in which a model makes `times` as many frames, or what its cascade or an operator says.

    MultigenError for what does not go together.
    """
    check_makes(model.recipe.name, model.modality.name)
    if times is not None and not 2 <= times <= _TIMES:
        raise MultigenError(f"times: {times} is not allowed; give a whole number from 2 to {_TIMES}")
    if restore is not None:
        if times is not None:
            raise MultigenError("times: it does not go with restore, which says itself how much is made")
        return [_checked(model, _restored(model, restore))]
    if isinstance(model.cascade, Cascade):
        return _enlarged(model, model.cascade, times)
    return [_checked(model, _between(model, 2 if times is None else times))]


def check_makes(name: str, modality: str) -> None:
    """MultigenError for a model of other media."""
    if modality != Video.name:
        raise MultigenError(f"{name}: it makes media of the kind {modality}; a film needs a model of videos")


def _checked(model: Model, work: Work) -> Work:
    if work.frames < 2 or min(work.block) < 2:
        own = model.modality.describe(model.modality.shape())
        raise MultigenError(
            f"{model.recipe.name}: {own} are too few for {work.factors[0]} times as many; it needs two known ones"
        )
    return work


def _of(model: Model, factors: tuple[int, int, int], edit: Callable[[Tensor], EditRequest]) -> Work:
    frames, height, width = (n // f for n, f in zip(largest(model), factors, strict=True))
    return Work(frames, (height, width), factors, edit)


def _enlarged(model: Model, cascade: Cascade, times: int | None) -> list[Work]:
    """The cascade's own factors; it makes several times as many frames in several passes."""
    _, frames, height, width = cascade.after((1, 1, 1, 1))
    work = _checked(model, _of(model, (frames, height, width), EditRequest))
    if times is None or times == frames:
        return [work]
    passes, made = 0, 1
    while frames > 1 and (height, width) == (1, 1) and made < times:
        passes, made = passes + 1, made * frames
    if made != times:
        raise MultigenError(
            f"times: {times} is not allowed; {model.recipe.name} makes {frames} times as many frames"
            + (", and powers of that" if frames > 1 and (height, width) == (1, 1) else "")
        )
    return [work] * passes


def _restored(model: Model, restore: PartLike) -> Work:
    part = operator_part(restore)
    given = {"modality": model.modality, "codec": model.codec}
    with errors_at("restore"):
        operator: Operator = registry.build("operator", part, where="operator", given=given)
        _, *factors = operator.whole((3, 1, 1, 1))
    frames, height, width = factors
    return _of(model, (frames, height, width), lambda block: EditRequest(block, restore=part))


def _between(model: Model, times: int) -> Work:
    """An edit with a mask in time: each `times`-th frame is kept."""

    def edit(block: Tensor) -> EditRequest:
        media = block.repeat_interleave(times, dim=1)
        return EditRequest(media, keep=torch.arange(media.shape[1]) % times == 0, feather=0)

    return _of(model, (times, 1, 1), edit)
