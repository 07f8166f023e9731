"""Weights in 8 bits, as files hold them: one scale for each output channel, symmetric around 0.

    stored = round(w / scale)   int8, scale = max|w| / 127 over the channel, under the name of the weight
    scale                       float32 [channels], under that name with `.int8_scale`

A weight's error is at most half a scale. This makes files small; networks compute with the weights read back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

SCALE = ".int8_scale"
LEAST = 1024  # numbers of a weight, below which 8 bits save nothing to speak of


def packable(tensor: Tensor) -> bool:
    """Whether a tensor is a weight that 8 bits make smaller: floating point, two axes or more, not tiny."""
    return tensor.is_floating_point() and tensor.ndim > 1 and tensor.numel() >= LEAST


def packed(tensors: Mapping[str, Tensor], names: Collection[str]) -> dict[str, Tensor]:
    """The tensors, those with these names in 8 bits. ValueError for one that is not finite."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name not in names:
            found[name] = tensor
            continue
        weight = tensor.detach().float()
        if not weight.isfinite().all():
            raise ValueError(f"{name}: holds numbers that are not finite")
        scale = weight.flatten(1).abs().amax(1) / 127
        along = scale.clamp_min(torch.finfo(torch.float32).tiny).view(-1, *[1] * (weight.ndim - 1))
        found[name] = (weight / along).round().clamp(-127, 127).to(torch.int8)
        found[name + SCALE] = scale
    return found


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, those in 8 bits as float32. ValueError for a scale that does not fit."""
    found = {name: tensor for name, tensor in tensors.items() if not name.endswith(SCALE)}
    for name, scale in tensors.items():
        if not name.endswith(SCALE):
            continue
        weight = found.get(name.removesuffix(SCALE))
        if weight is None or weight.dtype != torch.int8 or scale.shape != weight.shape[:1]:
            raise ValueError(
                f"{name}: there is no int8 weight of {scale.numel()} channels that it belongs to"
            )
        found[name.removesuffix(SCALE)] = weight.float() * scale.float().view(-1, *[1] * (weight.ndim - 1))
    return found
