"""Items of media files, wherever the files lie: reading, augmentation, and pictures kept in memory."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from multigen.datasets import Dataset, Item, decoding
from multigen.datasets.augment import PICTURE, SOUND, Augment, uniform
from multigen.datasets.segments import Segments
from multigen.modalities import Modality, Source
from multigen.modalities.guard import Guard
from multigen.modalities.pace import per_second


class Told(NamedTuple):
    """What is known about a file: its name, alternative captions (at least one), and its label, if it has one."""

    name: str
    texts: Sequence[str]
    label: int | None


class Files(Dataset, ABC):
    """Items of files, one for each `segment` seconds. See `Folder` for the settings.

    A subclass says where the files are and what is known about them, and calls `_divide` with their durations.
    """

    def __init__(self, modality: Modality, augment: Augment, *, segment: float | None, memory: float) -> None:
        self.modality, self._shape = modality, modality.shape()
        self._rate = per_second(modality)  # samples or frames per second; 0 for media without time
        self._augment = augment
        channels, axes = self._shape[0], len(self._shape) - 1
        augment.check(PICTURE if axes > 1 else SOUND if self._rate else (), channels, modality.name)
        self._seconds = self._shape[1] / self._rate if self._rate else 0.0  # natural duration
        self._step = self._checked_segment(segment)
        if memory < 0:
            raise ValueError(f"memory: {memory} is not allowed. Allowed: 0 GiB or more.")
        self._room = memory * 2**30  # bytes left for pictures
        self._pictures: dict[int, Tensor] = {}
        self._guard = Guard()  # the files are strangers'
        self._segments = Segments((), self._seconds, self._step)

    def _divide(self, durations: Sequence[float] | np.ndarray) -> None:
        """Divide files of these durations, in s, into items."""
        self._segments = Segments(durations, self._seconds, self._step)

    @abstractmethod
    def source(self, file: int) -> Source:
        """Where the bytes of a file are."""

    @abstractmethod
    def told(self, file: int) -> Told:
        """What is known about a file."""

    def durations(self) -> list[float]:
        """Duration of each file in s; 0 for pictures."""
        return self._segments.durations.tolist()

    def __len__(self) -> int:
        return len(self._segments)

    def __getitem__(self, index: int) -> Item:
        file, k = self._segments.place(index)
        source, told = self.source(file), self.told(file)
        if self._rate:
            start, _ = self._segments.span(file, k, self._seconds)
            media = self._guard(
                source, decoding.clip, self.modality, source, start, self._seconds, self._shape, self._augment
            )
        else:
            media = self.modality.fit(self._picture(file), self._shape)
        return self._item(file, k, media, told, told.texts[0])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with start, crop, augmentation and caption drawn from `rng`.

        MediaError if its file has become unreadable, also if a decoder crashes on it.
        """
        file, k = self._segments.place(index)
        if self._rate:
            media = self._clip(file, k, rng)
        else:
            media = self._augment.crop_picture(self._picture(file), rng)
            media = self._augment.change_picture(self.modality.fit(media, self._shape, rng), rng)
        told = self.told(file)
        text = told.texts[int(torch.randint(len(told.texts), (), generator=rng))]
        return self._item(file, k, media, told, text)

    def caption(self, index: int, rng: torch.Generator) -> str:
        """One of the captions of the item's file, which is not opened."""
        texts = self.told(self._segments.place(index)[0]).texts
        return texts[int(torch.randint(len(texts), (), generator=rng))]

    def name(self, index: int) -> str:
        """The `id` of an item, whose file is not opened."""
        file, k = self._segments.place(index)
        return self._segments.name(file, k, self.told(file).name)

    def _clip(self, file: int, k: int, rng: torch.Generator) -> Tensor:
        """A clip from anywhere within a segment, augmented."""
        source, speed = self.source(file), self._augment.draw_speed(rng)
        start = uniform(*self._segments.span(file, k, self._seconds * speed), rng)
        media, state = self._guard(
            source, decoding.drawn_clip, self.modality, source, start, self._seconds * speed, self._shape,
            self._augment, speed, self._rate, rng.get_state(),
        )  # fmt: skip
        rng.set_state(state)
        return media

    def _split(self, held_files: set[int]) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices; all segments of a file stay on one side."""
        return self._segments.split(held_files)

    def _item(self, file: int, k: int, media: Tensor, told: Told, text: str) -> Item:
        item = Item(media=media, id=self._segments.name(file, k, told.name), text=text)
        if told.label is not None:
            item["label"] = told.label
        return item

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

    def _picture(self, file: int) -> Tensor:
        """[C, *D], a large picture reduced to what training needs.

        Pictures are kept in memory as 8-bit levels until it is full, since decoding a photograph takes far longer than
        training on it. The result is the same whether a picture was kept or not.
        """
        kept = self._pictures.get(file)
        if kept is None:
            source = self.source(file)
            if len(self._shape) != 3:
                return self._guard(source, self.modality.read, source)
            kept = self._guard(
                source, decoding.small_picture, self.modality, source, self._shape, self._augment
            )
            if self._room >= kept.nbytes:
                self._room -= kept.nbytes
                self._pictures[file] = kept
        return kept if kept.is_floating_point() else kept.float() / 127.5 - 1


def checked_share(held_out: float) -> float:
    """The share itself. ValueError unless it lies in [0, 1)."""
    if not 0 <= held_out < 1:
        raise ValueError(f"held_out: {held_out} is not allowed. Allowed: 0 to below 1.")
    return held_out
