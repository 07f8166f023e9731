"""The dataset: sines of one period and random phase, quiet or loud."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from multigen.core.noise import stream
from multigen.datasets import Dataset, Item
from multigen.registry import Given
from multigen_series.modality import Series


class Sines(Dataset):
    """`count` sines; every other one is loud. Labels are the classes, texts their names."""

    def __init__(self, *, modality: Given[Series], count: int = 64) -> None:
        self.length, self.channels, self.count = modality.length, modality.shape()[0], count
        self.classes: tuple[str, ...] = ("quiet", "loud")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Item:
        return self.draw(index, stream(0, "sine", index))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The phase is drawn from `rng` alone, so that a training is the same whenever it runs."""
        label = index % 2
        phase = torch.rand(1, generator=rng) + torch.arange(self.length) / self.length
        media = (0.2, 0.9)[label] * torch.sin(2 * math.pi * phase)[None].repeat(self.channels, 1)
        return {"media": media, "id": f"sine{index}", "label": label, "text": self.classes[label]}

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        return range(self.count - 8), range(self.count - 8, self.count)
