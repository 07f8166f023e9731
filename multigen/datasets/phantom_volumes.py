"""Phantoms in three dimensions: drawn heads, as computed tomography would see them. Nobody's data, no medical truth.

Each is a sum of ellipsoids (after Shepp & Logan 1974) whose places, sizes and values are drawn; half have a lesion on
one side. Values are Hounsfield units: air -1000, water 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from multigen.core.noise import normal
from multigen.datasets import Dataset, Item, held_out
from multigen.datasets.phantoms import KINDS
from multigen.errors import MultigenError
from multigen.modalities import Modality
from multigen.modalities.deep_grey import Window, to_media
from multigen.modalities.volume import Volume
from multigen.registry import Given

_FINE = 2  # samples of a voxel along each side
_AIR, _BONE, _BRAIN, _FLUID, _LESION = -1000.0, 900.0, 40.0, 5.0, 80.0


class Ellipsoid(NamedTuple):
    """What is inside has a value; the head is 2 wide. Centre and half axes to the left, the back and the head."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    value: float


class PhantomVolumes(Dataset):
    """Drawn heads, three kinds: healthy, with a lesion on the patient's left, on the right.

    count     how many there are
    noise     standard deviation of the scanner's noise, Hounsfield units
    held_out  share that is kept from training

    MultigenError for a modality that is no volume.
    """

    classes = KINDS

    def __init__(
        self, *, modality: Given[Modality], count: int = 2000, noise: float = 4.0, held_out: float = 0.1
    ) -> None:
        if not isinstance(modality, Volume):
            raise MultigenError("data: phantom_volumes are volumes; set modality.name=volume")
        if count < 1:
            raise ValueError(f"count: {count} is not allowed. Allowed: 1 or more.")
        if not (noise >= 0 and math.isfinite(noise)):
            raise ValueError(f"noise: {noise} is not allowed. Allowed: a number, 0 or more.")
        self.modality, self.shape = modality, modality.shape()
        self.count, self.noise, self.share = count, noise, held_out

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        """The head of a number, always the same."""
        if not 0 <= index < self.count:
            raise IndexError(index)
        kind = index % 4 if index % 4 < len(KINDS) else 0
        values = drawn(head(index, kind), self.shape[1:])
        values = values + self.noise * normal(self.shape[1:], index, "phantom", "noise").double()
        media = to_media(values[None], Window(*self.modality.window))
        return Item(media=media, id=self._id(index), text=KINDS[kind], label=kind)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The same: there are as many as are asked for."""
        return self[index]

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices, by a hash of the number."""
        return held_out([self._id(k) for k in range(self.count)], self.share)

    @staticmethod
    def _id(index: int) -> str:
        return f"head-{index:05d}"


def head(index: int, kind: int) -> list[Ellipsoid]:
    """The ellipsoids of a head, the later over the earlier."""
    u = torch.special.ndtr(normal((16,), index, "phantom", "volume").double()).tolist()
    a, b, c = 0.66 + 0.08 * u[0], 0.82 + 0.08 * u[1], 0.84 + 0.1 * u[2]
    bone = 0.06 + 0.04 * u[3]
    inner = (a - bone, b - bone, c - bone)
    parts = [Ellipsoid((0, 0, 0), (a, b, c), _BONE), Ellipsoid((0, 0, 0), inner, _BRAIN)]
    for side in (-1, 1):
        wide, long, high = 0.1 + 0.05 * u[4], 0.28 + 0.1 * u[5], 0.16 + 0.08 * u[6]
        x = side * (0.17 + 0.04 * u[7 + (side > 0)])
        parts.append(Ellipsoid((x, -0.05 + 0.1 * u[9], 0.05), (wide, long, high), _FLUID))
    if kind:
        side, size = (1 if kind == 1 else -1), 0.12 + 0.1 * u[10]  # the patient's left is where columns go
        place = (side * (0.34 + 0.08 * u[11]), 0.5 * (u[12] - 0.5), 0.5 * (u[13] - 0.5))
        parts.append(
            Ellipsoid(place, (size, size * (0.8 + 0.4 * u[14]), size * (0.8 + 0.4 * u[15])), _LESION)
        )
    return parts


def drawn(parts: Sequence[Ellipsoid], shape: Sequence[int]) -> Tensor:
    """Values [D, H, W], float64, antialiased: means over finer voxels."""
    depth, height, width = (n * _FINE for n in shape)
    scale = 2 / min(height, width)
    z, y, x = (
        ((torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s).view(
            *[-1 if k == axis else 1 for k in range(3)]
        )
        for axis, (n, s) in enumerate(((depth, 2 / depth), (height, scale), (width, scale)))
    )
    values = torch.full((depth, height, width), _AIR, dtype=torch.float64)
    for one in parts:
        (cx, cy, cz), (a, b, c) = one.centre, one.half
        inside = ((x - cx) / a) ** 2 + ((y - cy) / b) ** 2 + ((z - cz) / c) ** 2 <= 1
        values[inside] = one.value
    fine = values.view(shape[0], _FINE, shape[1], _FINE, shape[2], _FINE)
    return fine.mean((1, 3, 5))
