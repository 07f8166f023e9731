"""Phantoms: drawn sections of a head, as a scanner would see them, in 16 bits. Nobody's data, and no medical truth.

Each is a sum of ellipses (after Shepp & Logan 1974) whose places, sizes and values are drawn; every other one has a
lesion on one side. Values are in the order of what computed tomography gives, plus 1,024: air near 0, water 1,024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from multigen.core.noise import normal
from multigen.datasets import Dataset, Item, held_out
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.deep_grey import Window, to_media
from multigen.modalities.image import Image
from multigen.registry import Given

_FINE = 3  # samples of a pixel along each side
KINDS = ("healthy head", "head with a lesion on the left", "head with a lesion on the right")
_AIR, _BONE, _BRAIN, _FLUID, _LESION = 0.0, 2300.0, 1060.0, 1030.0, 1095.0


class Ellipse(NamedTuple):
    """What is inside has a value; the head is 2 wide.

    x, y   its centre; a, b: its half axes; angle in radians
    """

    x: float
    y: float
    a: float
    b: float
    angle: float
    value: float


class Phantoms(Dataset):
    """Drawn sections of a head, three kinds: healthy, with a lesion on the left, on the right.

    count     how many there are
    noise     standard deviation of the scanner's noise, in values of the file
    held_out  share that is kept from training

    MultigenError for a modality that is not grey pictures of 16 bits.
    """

    classes = KINDS

    def __init__(
        self, *, modality: Given[Modality], count: int = 3000, noise: float = 4.0, held_out: float = 0.1
    ) -> None:
        if not isinstance(modality, Image) or modality.window is None:
            raise MultigenError(
                "data: phantoms are grey pictures of 16 bits; set modality.channels=1 modality.bits=16"
            )
        if count < 1:
            raise ValueError(f"count: {count} is not allowed. Allowed: 1 or more.")
        if not (noise >= 0 and math.isfinite(noise)):
            raise ValueError(f"noise: {noise} is not allowed. Allowed: a number, 0 or more.")
        self.shape, self.window = modality.shape(), modality.window
        self.count, self.noise, self.share = count, noise, held_out

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        """The section of a number, always the same."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        kind = index % 4 if index % 4 < len(KINDS) else 0
        values = _drawn(_head(index, kind), self.shape[1], self.shape[2])
        values = values + self.noise * normal(self.shape[1:], index, "phantom", "noise").double()
        media = to_media(values[None].clamp(min=0).round(), Window(*self.window))
        return Item(media=media, id=self._id(index), text=KINDS[kind], label=kind)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The same: there are as many as are asked for."""
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices, by a hash of the number."""
        return held_out([self._id(k) for k in range(self.count)], self.share)

    @staticmethod
    def _id(index: int) -> str:
        return f"phantom-{index:05d}"


def _head(index: int, kind: int) -> list[Ellipse]:
    """The ellipses of a section, the later over the earlier."""
    u = torch.special.ndtr(normal((16,), index, "phantom", "form").double()).tolist()
    turn = 0.15 * (u[0] - 0.5)
    a, b = 0.68 + 0.08 * u[1], 0.84 + 0.08 * u[2]
    bone = 0.05 + 0.03 * u[3]
    parts = [Ellipse(0, 0, a, b, turn, _BONE), Ellipse(0, 0, a - bone, b - bone, turn, _BRAIN)]
    for side in (-1, 1):
        width, height = 0.09 + 0.05 * u[4], 0.22 + 0.1 * u[5]
        x = side * (0.15 + 0.04 * u[6 + (side > 0)])
        parts.append(Ellipse(x, -0.05 + 0.1 * u[8], width, height, turn - side * 0.3, _FLUID))
    if kind:
        side = -1 if kind == 1 else 1
        size = 0.08 + 0.1 * u[9]
        parts.append(
            Ellipse(
                side * (0.36 + 0.1 * u[10]),
                0.5 * (u[11] - 0.5),
                size,
                size * (0.7 + 0.6 * u[12]),
                u[13],
                _LESION,
            )
        )
    return parts


def _drawn(parts: Sequence[Ellipse], height: int, width: int) -> Tensor:
    """Values [H, W], float64, antialiased."""
    scale = 2 / (min(height, width) * _FINE)
    y, x = np.mgrid[: height * _FINE, : width * _FINE]
    y, x = (y - (height * _FINE - 1) / 2) * scale, (x - (width * _FINE - 1) / 2) * scale
    values = np.full(x.shape, _AIR)
    for one in parts:
        cos, sin = math.cos(one.angle), math.sin(one.angle)
        along = ((x - one.x) * cos + (y - one.y) * sin) / one.a
        across = ((y - one.y) * cos - (x - one.x) * sin) / one.b
        values[along**2 + across**2 <= 1] = one.value
    return torch.from_numpy(values.reshape(height, _FINE, width, _FINE).mean((1, 3)))
