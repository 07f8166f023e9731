"""Masks: what of a medium is kept, where it grows, and how what was kept comes back as it was.

A mask `keep` is True where the medium stays: bool [*D] over its axes without channels, or [D] over its first axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.errors import MultigenError
from multigen.generation.sizes import check_size


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


def spliced(made: Tensor, source: Source, feather: int) -> Tensor:
    """What was made [C, *D], with what is kept put back as it was.

    Within `feather` samples, pixels or frames of its border the kept part fades into what was made; beyond, it is
    identical.
    """
    if source.keep is None:
        return made
    # A sound over full scale would be lowered as a whole when it is written, what is kept with it.
    peak = float(made.abs().max())
    made = made / peak if made.ndim == 2 and peak > 1 else made
    keep, old = source.keep, source.media
    weight = depth(keep, feather + 1).sub_(1).div_(feather).clamp_(0, 1) if feather else keep.float()
    made = made.to(old)
    mixed = (
        _over(made, old, weight) if len(old) == 4 and old.ndim > 2 else torch.lerp(made, old, weight.to(old))
    )
    return torch.where(weight == 1, old, mixed)


def _over(made: Tensor, old: Tensor, weight: Tensor) -> Tensor:
    """A cross-fade of pictures with alpha [4, *D]: the colour of what is clear counts for nothing."""
    alphas = [(one[3:] + 1) / 2 * share for one, share in ((made, 1 - weight), (old, weight))]
    alpha = alphas[0] + alphas[1]
    colours = (made[:3] * alphas[0] + old[:3] * alphas[1]) / alpha.clamp_min(1e-6)
    return torch.cat([torch.where(alpha > 1e-6, colours, old[:3]), alpha * 2 - 1])


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
