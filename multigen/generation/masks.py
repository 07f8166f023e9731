"""Masks: what of a medium is kept, where it grows, and how what was kept comes back as it was.

A mask `keep` is True where the medium stays: bool [*D] over its axes without channels, or [D] over its first axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.sizes import check_size
from multigen.modalities import Modality
from multigen.modalities.guard import guarded
from multigen.modalities.image import Image


@dataclass(frozen=True)
class Source:
    """What is edited: media [C, *D] at the size of the result, and what of it is kept, bool [*D]; None: nothing is."""

    media: Tensor
    keep: Tensor | None = None


def prepared(media: Tensor, keep: Tensor | None, extend: Sequence[int]) -> Source:
    """A source with `keep` at its full shape, grown by `extend`: what lies beyond the medium is not kept.

    `extend`: how much is added, before and after each axis from the last one on, in samples, pixels or frames (as
    `torch.nn.functional.pad` has it). MultigenError for a mask of another shape, or one that keeps or drops nothing.
    """
    axes = media.shape[1:]
    if any(n < 0 for n in extend) or len(extend) > 2 * len(axes):
        raise MultigenError(f"extend: {list(extend)} is not allowed; give numbers of 0 and more, two an axis")
    if keep is not None:
        keep = _full(keep, tuple(axes))
    if any(extend):
        keep = torch.ones(axes, dtype=torch.bool) if keep is None else keep
        pads = list(extend)
        grown = [n + sum(pads[2 * k : 2 * k + 2]) for k, n in enumerate(reversed(axes))]
        check_size([len(media), *reversed(grown)])
        # The edge goes on: an encoder that sees across the border meets no jump.
        media = _grown(media, pads)
        keep = F.pad(keep, pads, value=False)
    if keep is not None and bool(keep.all()):
        raise MultigenError("mask: it keeps everything, so there is nothing to make")
    return Source(media, keep if keep is None or bool(keep.any()) else None)


def _grown(media: Tensor, pads: list[int]) -> Tensor:
    """Padded by the values at the edges; sound by silence."""
    if media.ndim == 2:
        return F.pad(media, pads)
    axes = media.ndim - 1
    return F.pad(media[None], pads + [0] * (2 * axes - len(pads)), mode="replicate")[0]


def _full(keep: Tensor, axes: tuple[int, ...]) -> Tensor:
    if keep.dtype != torch.bool:
        raise MultigenError(f"mask: {keep.dtype} is not allowed; give bool, True where the medium stays")
    if keep.ndim < len(axes) and tuple(keep.shape) == axes[: keep.ndim]:
        keep = keep.view(*keep.shape, *[1] * (len(axes) - keep.ndim)).expand(axes)
    elif keep.ndim < len(axes) and tuple(keep.shape) == axes[-keep.ndim :]:
        keep = keep.expand(axes)
    if tuple(keep.shape) != axes:
        raise MultigenError(f"mask: shape {tuple(keep.shape)} is not allowed; the medium has {axes}")
    return keep.clone()


def default_feather(modality: Modality) -> int:
    """The feather where none is asked for: 50 ms of sound in samples, 2 pixels; none of a video, whose frames are
    kept or not."""
    axes = len(modality.shape()) - 1
    return {1: round(0.05 * modality.shape(duration=1.0)[1]) if axes == 1 else 0, 2: 2}.get(axes, 0)


def picture_mask(path: Path, medium: Tensor) -> Tensor:
    """What a picture keeps of a medium [C, *D]: bool [*D], True where it is darker than mid-grey."""
    if medium.ndim == 2:
        raise MultigenError("mask: a picture is no mask for a sound; give spans of time: keep 0:2.5s")
    picture = guarded(path, Image(size=int(medium.shape[-1]), channels=1).read, path)[0]
    if picture.shape != medium.shape[-2:]:
        given, asked = (f"{width} x {height}" for height, width in (picture.shape, medium.shape[-2:]))
        raise MultigenError(f"mask {path}: {given} pixels; the medium has {asked}")
    return (picture < 0).expand(medium.shape[1:])


def spliced(made: Tensor, source: Source, feather: int) -> Tensor:
    """What was made [C, *D], with what is kept put back as it was; the rest of the source's length stays as made.

    Within `feather` samples, pixels or frames of its border the kept part fades into what was made; beyond, it is
    identical.
    """
    if source.keep is None:
        return made
    # A sound over full scale would be lowered as a whole when it is written, what is kept with it.
    peak = float(made.abs().max())
    made = made / peak if made.ndim == 2 and peak > 1 else made
    length = [min(a, b) for a, b in zip(made.shape[1:], source.media.shape[1:], strict=True)]
    place = tuple(slice(n) for n in length)
    keep, old = source.keep[place], source.media[(slice(None), *place)]
    weight = depth(keep, feather + 1).sub_(1).div_(feather).clamp_(0, 1) if feather else keep.float()
    out = made.clone()
    region = (slice(None), *place)
    out[region] = torch.where(weight == 1, old, torch.lerp(made[region], old.to(made), weight))
    return out


def depth(keep: Tensor, limit: int) -> Tensor:
    """How far within the kept part each place lies, float [*D]: 0 outside, 1 at its border, `limit` at most.

    Steps go straight and diagonally alike. The outer edge of the medium is no border.
    """
    if keep.ndim == 1:
        places = torch.arange(len(keep))
        far = len(keep) + limit
        before = torch.where(keep, -far, places).cummax(0).values
        after = torch.where(keep, far, places).flip(0).cummin(0).values.flip(0)
        return torch.minimum(places - before, after - places).clamp(0, limit).float()
    inside = keep.float()
    total = inside.clone()
    pool = {2: F.max_pool2d, 3: F.max_pool3d}[keep.ndim]
    for _ in range(limit - 1):
        inside = 1 - pool((1 - inside)[None, None], 3, 1, 1)[0, 0]
        total += inside
    return total
