"""What a training step draws: the same for a step and a seed, however the batch is cut into parts and ranks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.noise import normal, stream, uniform
from multigen.core.upload import upload


class Places(NamedTuple):
    """Positions `rows` of a global batch of `size`."""

    size: int
    rows: range


class Draws(ABC):
    """Noise and uniform numbers, keyed by (seed, purpose, step); a row is the same whichever rank asks for it."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device

    @abstractmethod
    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        """[B] in [0, 1) on the CPU, a number for each place."""

    @abstractmethod
    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        """[B, *shape] on the device, standard normal."""


class PerPlace(Draws):
    """One CPU stream for each place: the same numbers for any size of the batch."""

    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        return torch.cat([uniform((1,), self.seed, purpose, step, k) for k in places.rows])

    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        rows = [normal(shape, self.seed, purpose, step, k) for k in places.rows]
        return upload(torch.stack(rows), self.device)


class PerStep(Draws):
    """One stream for the whole batch, and noise drawn where it is needed: large batches on a GPU wait for no CPU.

    Every rank draws all of it and takes its rows. The noise is that of the device's generator, so that a training can
    be repeated, and gone on with, on devices of one kind.
    """

    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        return uniform((places.size,), self.seed, purpose, step)[places.rows.start : places.rows.stop]

    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        generator = torch.Generator(self.device)
        generator.manual_seed(stream(self.seed, purpose, step).initial_seed())
        whole = torch.randn(places.size, *shape, generator=generator, device=self.device)
        return whole[places.rows.start : places.rows.stop]


def draws(seed: int, device: torch.device) -> Draws:
    """The draws of a training on a device."""
    return (PerPlace if device.type == "cpu" else PerStep)(seed, device)
