"""Items of media files, wherever the files lie: segments, reading, augmentation, what is kept in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.datasets.augment import PICTURE, SOUND, Augment, uniform
from multigen.modalities import Modality, Source

# Durations in s at which a modality is asked how long its media are; the longest that it takes is the most exact.
_PROBES = (1000.0, 100.0, 10.0, 1.0)
# A file may be this share of a segment too short for its last one: headers round.
_TOLERANCE = 0.01


class Told(NamedTuple):
    """What is known of a file: its name, alternative captions (at least one), and its label where there are any."""

    name: str
    texts: Sequence[str]
    label: int | None


class Files(Dataset, ABC):
    """Items cut from files, each `segment` s one; pictures are kept in `memory` GiB. See `Folder` for the settings."""

    def __init__(self, modality: Modality, augment: Augment, *, segment: float | None, memory: float) -> None:
        self.modality, self._shape = modality, modality.shape()
        self._rate = per_second(modality)  # samples or frames a second; 0 for media without time
        self._augment = augment
        channels, axes = self._shape[0], len(self._shape) - 1
        augment.check(PICTURE if axes > 1 else SOUND if self._rate else (), channels, modality.name)
        self._segment = self._checked_segment(segment)
        if memory < 0:
            raise ValueError(f"memory: {memory} is not allowed. Allowed: 0 GiB or more.")
        self._room = memory * 2**30
        self._pictures: dict[int, Tensor] = {}
        self._durations = np.zeros(0)
        self._ends = np.zeros(0, np.int64)

    def _cut(self, durations: Sequence[float] | np.ndarray) -> None:
        """The length in s of each file, which makes so many items of it."""
        self._durations = np.asarray(durations, np.float64)
        counts = [self._segments(float(d)) for d in self._durations]
        self._ends = np.cumsum(np.asarray(counts, np.int64))  # items up to and with each file

    @abstractmethod
    def source(self, file: int) -> Source:
        """Where the bytes of a file are."""

    @abstractmethod
    def told(self, file: int) -> Told:
        """What is known of a file."""

    def durations(self) -> list[float]:
        """Of each file, in s; 0 for pictures."""
        return self._durations.tolist()

    # --- segments ---------------------------------------------------------------------------------------------

    @property
    def _seconds(self) -> float:
        """Natural duration in s; 0 for media without time."""
        return self._shape[1] / self._rate if self._rate else 0.0

    def _checked_segment(self, segment: float | None) -> float:
        if segment is None:
            return self._seconds
        if not self._rate:
            raise ValueError(
                f"segment: {segment} does not apply to {self.modality.name}, which has no duration."
            )
        if not (segment > 0 and math.isfinite(segment)):
            raise ValueError(f"segment: {segment} is not allowed. Allowed: above 0 s.")
        return segment

    def _segments(self, duration: float) -> int:
        if not self._rate or duration <= self._seconds:
            return 1
        return 1 + math.floor((duration - self._seconds) / self._segment + _TOLERANCE)

    def _span(self, file: int, k: int, seconds: float) -> tuple[float, float]:
        """The earliest and latest start in s of a span of `seconds` for segment k; the last one takes the rest."""
        last = max(0.0, float(self._durations[file]) - seconds)
        first = min(k * self._segment, last)
        ends = k + 1 >= self._segments(float(self._durations[file]))
        return first, last if ends else min((k + 1) * self._segment, last)

    # --- items ------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Item:
        file, k = self._place(index)
        if self._rate:
            start, _ = self._span(file, k, self._seconds)
            media = self.modality.read(self.source(file), start=start, duration=self._seconds)
        else:
            media = self._picture(file)
        media = self.modality.fit(media, self._shape)
        told = self.told(file)
        return self._item(file, k, media, told, told.texts[0])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Item with start, crop, augmentation and caption drawn from `rng`. MediaError if its file went bad."""
        file, k = self._place(index)
        augment = self._augment
        if self._rate:
            speed = augment.draw_speed(rng)
            start = uniform(*self._span(file, k, self._seconds * speed), rng)
            media = self.modality.read(self.source(file), start=start, duration=self._seconds * speed)
            if len(self._shape) == 2:
                media = augment.voiced(media, speed, self._rate, rng)
        else:
            media = self._picture(file)
        if len(self._shape) > 2:
            media = augment.cropped(media, rng)
            media = augment.coloured(self.modality.fit(media, self._shape, rng), rng)
        else:
            media = self.modality.fit(media, self._shape, rng)
        told = self.told(file)
        text = told.texts[int(torch.randint(len(told.texts), (), generator=rng))]
        return self._item(file, k, media, told, text)

    def _split(self, held: set[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices; all segments of a file stay on one side."""
        out = np.repeat(
            np.isin(np.arange(len(self._ends)), sorted(held)), np.diff(self._ends, prepend=0).astype(np.int64)
        )
        return np.flatnonzero(~out).tolist(), np.flatnonzero(out).tolist()

    def _place(self, index: int) -> tuple[int, int]:
        """The file and the segment of an item."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = int(np.searchsorted(self._ends, index, side="right"))
        return file, index - (int(self._ends[file - 1]) if file else 0)

    def _item(self, file: int, k: int, media: Tensor, told: Told, text: str) -> Item:
        name = told.name
        if self._segments(float(self._durations[file])) > 1:
            name = f"{name}@{k * self._segment:g}s"
        item = Item(media=media, id=name, text=text)
        if told.label is not None:
            item["label"] = told.label
        return item

    def _picture(self, file: int) -> Tensor:
        """[C, *D], large pictures reduced to what training needs.

        They are kept in memory (8 bits a value) until it is full: decoding a photograph takes far longer than
        training on it. What comes back is the same whether it was kept or not.
        """
        kept = self._pictures.get(file)
        if kept is None:
            media = self.modality.read(self.source(file))
            if len(self._shape) != 3:
                return media
            kept = _levels(self._reduced(media))
            if self._room >= kept.nbytes:
                self._room -= kept.nbytes
                self._pictures[file] = kept
        return kept.float() / 127.5 - 1

    def _reduced(self, media: Tensor) -> Tensor:
        """[C, H, W], no larger than a crop of the least share needs to be enlarged no more than the whole."""
        (_, height, width), (channels, h, w) = self._shape, media.shape
        scale = max(height / h, width / w) / math.sqrt(self._augment.crop)
        if scale >= 1:
            return media
        return self.modality.fit(media, (channels, max(1, round(h * scale)), max(1, round(w * scale))))


def checked_share(held_out: float) -> float:
    """ValueError for a share that cannot be held out."""
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out: {held_out} is not allowed. Allowed: 0 to below 1.")
    return held_out


def _levels(media: Tensor) -> Tensor:
    """[-1, 1] -> uint8, as picture files mostly have it."""
    return ((media + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def per_second(modality: Modality) -> float:
    """Samples or frames a second along the time axis; 0 where the modality takes no duration."""
    for seconds in _PROBES:
        try:
            return modality.shape(duration=seconds)[1] / seconds
        except ValueError:
            continue
    return 0.0
