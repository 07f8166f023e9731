"""LoRAs added to the weights of a model, and removed again bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from multigen.storage.lora.places import Change


class MergedWeights:
    """Weights with LoRAs added. The base's own are kept, so that they return bit for bit."""

    def __init__(self) -> None:
        self._base: dict[str, tuple[Tensor, Tensor]] = {}  # name -> the weight, and its own numbers
        self._changes: Sequence[tuple[Mapping[str, Change], float]] = ()

    @property
    def changed(self) -> Sequence[str]:
        """Names of the weights that differ from the base's."""
        return list(self._base)

    @property
    def nbytes(self) -> int:
        """Bytes of the base's own weights that are kept beside the changed ones."""
        return sum(own.nbytes for _, own in self._base.values())

    @torch.no_grad()
    def set(self, changes: Sequence[tuple[Mapping[str, Change], float]]) -> None:
        """Add these changes (`deltas`), each with its weight, in place of the former ones."""
        for weight, own in self._base.values():
            weight.copy_(own)
        self._changes = changes = [(rows, times) for rows, times in changes if times]
        self._base = {
            name: (one.weight, one.weight.clone()) for rows, _ in changes for name, one in rows.items()
        }
        for rows, times in changes:
            for name, one in rows.items():
                delta = one.pair.delta(self._base[name][1])
                one.weight.add_(delta.to(one.weight), alpha=times)

    @torch.no_grad()
    def forget(self, prefix: str) -> None:
        """Keep the weights of names that begin so as they are now, which have been replaced; restore the others."""
        for name, (weight, own) in self._base.items():
            if not name.startswith(prefix):
                weight.copy_(own)
        self._base, self._changes = {}, ()

    @contextmanager
    def bare(self) -> Iterator[None]:
        """Restore the base's own weights inside the block."""
        changes = self._changes
        self.set(())
        try:
            yield
        finally:
            self.set(changes)
