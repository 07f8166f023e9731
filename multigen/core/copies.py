"""Copies of weights in the form in which they are multiplied: modules make them for sampling, and keep them.

A copy belongs to a weight as it was: the same tensor, version and place in memory. Whoever changes weights in a way
that torch does not count tells so with `changed`; where nobody can, as where FSDP2 gathers weights, no copies are kept.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stamp(NamedTuple):
    """A weight as it was when a copy was made of it."""

    weight: Tensor
    version: int
    place: int  # in memory

    @staticmethod
    def of(weight: Tensor) -> Stamp:
        """Take it of a weight as it is now. Inference tensors have no versions."""
        return Stamp(weight, weight._version, weight.data_ptr())

    def holds(self, weight: Tensor) -> bool:
        """Whether a weight is that one, and as it was."""
        same = self.weight is weight and self.version == weight._version
        return same and self.place == weight.data_ptr()


class KeepsCopies(metaclass=ABCMeta):
    """A module that keeps copies of its weights in another form.

    keeps_copies   False: it makes none
    """

    keeps_copies: bool = True

    @property
    @abstractmethod
    def copied_bytes(self) -> int:
        """Bytes of the copies that it keeps now, without those of modules in it."""

    @abstractmethod
    def forget_copies(self) -> None:
        """Let the copies go; they are made again when they are needed."""


def changed(weights: Iterable[Tensor]) -> None:
    """Count a new version of weights that were changed in place where torch did not see it.

    A fused optimizer and an exchange of `.data` are such changes.
    """
    for weight in weights:
        torch.autograd.graph.increment_version(weight)


def copied_bytes(module: nn.Module) -> int:
    """Bytes of all copies of weights that a module and those in it keep now."""
    return sum(one.copied_bytes for one in module.modules() if isinstance(one, KeepsCopies))


def keep_no_copies(module: nn.Module) -> None:
    """Let a module, and those in it, keep no copies of weights from now on."""
    for one in module.modules():
        if isinstance(one, KeepsCopies):
            one.keeps_copies = False
            one.forget_copies()
