"""Random numbers of a training step. A row gets the same ones however the batch is split into parts and ranks."""

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
    """Noise and uniform numbers, keyed by (seed, purpose, step)."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed, self.device = seed, device

    @abstractmethod
    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        """Draw one number in [0, 1) for each place: [B] on the CPU."""

    @abstractmethod
    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        """Draw standard normal noise [B, *shape] on the device."""


class PerPlace(Draws):
    """One stream on the CPU for each place: the numbers do not depend on the size of the batch."""

    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        """Draw one number in [0, 1) for each place: [B] on the CPU."""
        return torch.cat([uniform((1,), self.seed, purpose, step, k) for k in places.rows])

    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        """Draw standard normal noise [B, *shape], moved to the device."""
        rows = [normal(shape, self.seed, purpose, step, k) for k in places.rows]
        return upload(torch.stack(rows), self.device)


class PerStep(Draws):
    """One stream for the whole batch, and noise drawn on the device: a GPU does not wait for the CPU.

    Every rank draws all rows and takes its own. The noise depends on the device's generator, so a training is
    reproducible, and resumes exactly, on devices of the same kind.
    """

    def uniform(self, purpose: str, step: int, places: Places) -> Tensor:
        """Draw one number in [0, 1) for each place: [B] on the CPU."""
        return uniform((places.size,), self.seed, purpose, step)[places.rows.start : places.rows.stop]

    def normal(self, shape: tuple[int, ...], purpose: str, step: int, places: Places) -> Tensor:
        """Draw standard normal noise [B, *shape] on the device."""
        generator = torch.Generator(self.device)
        generator.manual_seed(stream(self.seed, purpose, step).initial_seed())
        whole = torch.randn(places.size, *shape, generator=generator, device=self.device)
        return whole[places.rows.start : places.rows.stop]


def draws(seed: int, device: torch.device) -> Draws:
    """Choose how to draw on a device."""
    return (PerPlace if device.type == "cpu" else PerStep)(seed, device)
