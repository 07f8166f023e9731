"""An adapter: the pairs of matrices that a LoRA file holds, and the changes of weights that they make."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from multigen.errors import MultigenError


class Pair(NamedTuple):
    """The change of one layer, scale (up down): down [r, in, *k], up [out, r, *1].

    magnitude  of DoRA (Liu et al. 2024, arXiv:2402.09353, eq. 5): the length of each row of the changed weight, [out],
               or of each column, [1, in]; None: plain LoRA
    """

    down: Tensor
    up: Tensor
    scale: float = 1.0
    magnitude: Tensor | None = None

    def delta(self, base: Tensor) -> Tensor:
        """Return the change of the weight `base`, in its shape, fp32."""
        base = base.float()
        change = (self.scale * (self.up.float().flatten(1) @ self.down.float().flatten(1))).view_as(base)
        if self.magnitude is None:
            return change
        changed = base + change
        axis = self.magnitude.ndim - 1
        length = changed.transpose(0, axis).flatten(1).norm(dim=1).clamp_min(torch.finfo(torch.float32).eps)
        shape = [-1 if a == axis else 1 for a in range(base.ndim)]
        return changed * (self.magnitude.float().flatten() / length).view(shape) - base

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight that it changes."""
        return (self.up.shape[0], *self.down.shape[1:])


@dataclass(frozen=True)
class Adapter:
    """Contents of one file.

    pairs   layer name -> pair
    about   the header: name and hash of the base, rank, alpha
    where   the file's name in messages
    """

    pairs: Mapping[str, Pair]
    about: Mapping[str, Any]
    where: str

    @property
    def base(self) -> str:
        """Name of the base that it was trained on."""
        return str(self.about.get("base") or "a base that it does not name")

    def halved(self) -> Adapter:
        """Return it with its numbers as float16. MultigenError for one beyond float16's range."""
        pairs = {}
        for layer, pair in self.pairs.items():
            down, up = pair.down.half(), (pair.up.float() * pair.scale).half()
            if not (down.isfinite().all() and up.isfinite().all()):
                raise MultigenError(f"{self.where}: {layer} holds numbers beyond float16's range")
            pairs[layer] = pair._replace(down=down, up=up, scale=1.0)
        return dataclasses.replace(self, pairs=pairs)


def check_weight(weight: float, where: str) -> float:
    """Return the weight of a LoRA. MultigenError unless it is a finite number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise MultigenError(
            f"{where}: {weight!r} is not allowed. Allowed: a finite number; 0 is off, 1 as trained."
        )
    return float(weight)
