"""Features of one medium on the places of another: aligned in time and space, averaged or repeated along the rest."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.modalities import HEIGHT, TIME, WIDTH

_ORDER = (TIME, HEIGHT, WIDTH)


def align(
    features: Tensor, axes: Sequence[str], size: Sequence[int], onto: Sequence[str], *, reach: float = 1.0
) -> Tensor:
    """[B, K, *D] with axes of these names, onto places *size with axes `onto`: [B, K, *size].

    What has a time is moved by its share of the time, what has a picture by its share of height and width; axes that
    `onto` lacks are averaged over, those that only `onto` has see the same everywhere.

    reach  how much of the time of `onto` the features last, 2 for twice as long; beyond their end there are zeros

    ValueError for a name that is no axis.
    """
    if unknown := {*axes, *onto} - set(_ORDER):
        raise ValueError(f"axes: {sorted(unknown)} cannot be aligned. Allowed: {', '.join(_ORDER)}.")
    lost = [k + 2 for k, axis in enumerate(axes) if axis not in onto]
    features = features.mean(lost) if lost else features
    kept = [axis for axis in axes if axis in onto]
    for place, axis in enumerate(onto):
        if axis not in kept:
            features = features.unsqueeze(place + 2)
            continue
        weights = _weights(features.shape[place + 2], size[place], reach if axis == TIME else 1.0)
        moved = features.movedim(place + 2, -1) @ weights.T.to(features)
        features = moved.movedim(-1, place + 2)
    return features.expand(*features.shape[:2], *size)


def fold_pixels(features: Tensor, axes: Sequence[str], factor: int) -> Tensor:
    """[B, K, *D] -> [B, K * factor², *D'] with height and width divided: neighbouring pixels become channels.

    Axes without both height and width stay, and their channels are repeated so that the width is the same.
    """
    if factor == 1:
        return features
    if tuple(axes[-2:]) != (HEIGHT, WIDTH):
        return features.repeat_interleave(factor**2, dim=1)
    lead = features.shape[2:-2]
    flat = features.movedim(1, -3).flatten(0, -4)
    folded = F.pixel_unshuffle(flat, factor)
    return folded.unflatten(0, (len(features), *lead)).movedim(-3, 1)


def _weights(source: int, target: int, reach: float) -> Tensor:
    """[target, source]: how much of each of the source's steps is at each place, by a triangle (antialiased)."""
    at = (torch.arange(target, dtype=torch.float64) + 0.5) / target  # share of the target's extent
    place = at / reach * source - 0.5
    width = max(1.0, source / (target * reach))
    far = (place[:, None] - torch.arange(source, dtype=torch.float64)).abs() / width
    weights = (1 - far).clamp_min(0)
    inside = (at <= reach * (1 + 1e-9))[:, None]
    # At the ends a triangle reaches beyond the source: what it holds of it counts for the whole.
    return (weights / weights.sum(1, keepdim=True).clamp_min(1e-9)).where(inside, 0.0)
