"""An adapter: the pairs of matrices that a LoRA file holds, and the changes of weights that they make."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor

from multigen.core.backbone import Backbone
from multigen.errors import MultigenError


class Pair(NamedTuple):
    """The change of one layer, scale (up down): down [r, in, *k], up [out, r, *1]."""

    down: Tensor
    up: Tensor
    scale: float = 1.0

    def delta(self) -> Tensor:
        """Return the change of the weight, [out, in k] in fp32."""
        return self.scale * (self.up.float().flatten(1) @ self.down.float().flatten(1))


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


def prefixes(backbone: Backbone | type[Backbone]) -> tuple[str, str]:
    """Return the prefixes of a backbone's layer names in LoRA files, and in `Model.state_dict`."""
    outside, inside = backbone.published
    return outside, f"backbone.{inside}"


def deltas(adapter: Adapter, backbone: Backbone, recipe: str) -> dict[str, Pair]:
    """Return the pair of each weight in `Model.state_dict`.

    Raises MultigenError with the first layers that do not fit the backbone. `recipe`: its name in messages.
    """
    outside, inside = prefixes(backbone)
    weights = {f"backbone.{n}": p for n, p in backbone.named_parameters()}
    found: dict[str, Pair] = {}
    rows: list[str] = []
    for layer, pair in adapter.pairs.items():
        name = f"{inside}{layer.removeprefix(outside)}.weight"
        weight = weights.get(name) if layer.startswith(outside) else None
        if weight is None:
            rows.append(f"{layer}: there is no such layer")
        elif (shape := (pair.up.shape[0], *pair.down.shape[1:])) != tuple(weight.shape):
            rows.append(f"{layer} is for weights {list(shape)}, here {list(weight.shape)}")
        else:
            found[name] = pair
    if rows:
        more = f"; and {len(rows) - 3} more" if len(rows) > 3 else ""
        raise MultigenError(
            f"{adapter.where}: this LoRA is for another network than {recipe}: {'; '.join(rows[:3])}{more}. "
            f"It was made for {adapter.base}."
        )
    return found


def check_weight(weight: float, where: str) -> float:
    """Return the weight of a LoRA. MultigenError unless it is a finite number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise MultigenError(
            f"{where}: {weight!r} is not allowed. Allowed: a finite number; 0 is off, 1 as trained."
        )
    return float(weight)
