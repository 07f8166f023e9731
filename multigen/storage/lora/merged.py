"""LoRAs added to the weights of a backbone, and removed again bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from multigen.storage.lora.adapter import Pair


class MergedWeights:
    """A backbone's weights with LoRAs added. The base's own weights are kept, so that they return bit for bit."""

    def __init__(self, backbone: nn.Module) -> None:
        self.weights = {f"backbone.{n}": p for n, p in backbone.named_parameters()}
        self._base: dict[str, Tensor] = {}
        self._changes: Sequence[tuple[Mapping[str, Pair], float]] = ()

    @torch.no_grad()
    def set(self, changes: Sequence[tuple[Mapping[str, Pair], float]]) -> None:
        """Add these changes (`deltas`), each with its weight, in place of the former ones."""
        for name, weight in self._base.items():
            self.weights[name].copy_(weight)
        self._changes = changes = [(pairs, times) for pairs, times in changes if times]
        self._base = {name: self.weights[name].clone() for pairs, _ in changes for name in pairs}
        for pairs, times in changes:
            for name, pair in pairs.items():
                weight = self.weights[name]
                weight.add_(pair.delta(self._base[name]).to(weight), alpha=times)

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Restore the base's own weights inside the block."""
        changes = self._changes
        self.set(())
        try:
            yield
        finally:
            self.set(changes)
