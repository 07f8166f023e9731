"""Weights held in half precision for sampling, so that no call has to cast them.

Autocast casts each weight at each call, which takes longer than it saves on small batches. The copies are made once,
and again where a weight has changed. What is computed is what autocast computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.conv import _ConvNd

from multigen.core.copies import Stamp


class HeldWeights:
    """A module whose convolutions and linear layers compute with copies of their weights in another dtype.

    Other layers keep theirs, as autocast has it. Weights of another type than fp32, such as quantised ones, stay, and
    so do those that are not where x is, such as weights that come to the device for their turn.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        self.module, self.dtype = module, dtype
        self._copies: dict[str, Tensor] = {}
        self._made_of: dict[str, Stamp] = {}

    def __call__(self, x: Tensor, *args: Any, **more: Any) -> Tensor:
        """Call the module. Inside autocast to the dtype, without gradients."""
        return functional_call(self.module, self._weights(x.device), (x, *args), more)

    @property
    def nbytes(self) -> int:
        """Bytes of the copies."""
        return sum(copy.nbytes for copy in list(self._copies.values()))

    def _weights(self, device: torch.device) -> dict[str, Tensor]:
        found = dict(_castable(self.module, device))
        for name in self._copies.keys() - found.keys():
            del self._copies[name], self._made_of[name]
        for name, weight in found.items():
            made_of = self._made_of.get(name)
            if made_of is None or not made_of.holds(weight):
                self._copies[name] = weight.detach().to(self.dtype)
                self._made_of[name] = Stamp.of(weight)
        return self._copies


def _castable(module: nn.Module, device: torch.device) -> list[tuple[str, nn.Parameter]]:
    found = []
    for prefix, layer in module.named_modules(remove_duplicate=False):
        if not isinstance(layer, nn.Linear | _ConvNd):
            continue
        for name, weight in layer.named_parameters(recurse=False):
            plain = type(weight.data) is Tensor and weight.dtype == torch.float32
            if plain and weight.device == device and not weight.is_inference():
                found.append((f"{prefix}.{name}" if prefix else name, weight))
    return found
