"""What datasets of labelled pictures share: pictures in memory, their labels and the published split."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.datasets import held_out as held_out_by_id
from multigen.datasets.augment import Augment
from multigen.modalities import Modality

EXAMPLE_PATH = "data.path=./downloads"  # in messages
MAX_BYTES = 4 * 1024**3  # of one file


class LabelledPictures(Dataset):
    """Pictures in memory with a label each; the caption is the name of the class.

    levels  uint8 [N, C, H, W], the first `train` of them the training set
    train   size of the training set; if it is N, a tenth of the pictures is held out
    flip    `draw` mirrors half of the items
    """

    def __init__(
        self,
        modality: Modality,
        name: str,
        levels: Tensor,
        labels: Sequence[int],
        classes: tuple[str, ...],
        *,
        train: int,
        flip: bool,
    ) -> None:
        self.classes = classes
        self._modality, self._shape, self._name = modality, picture_shape(modality, name), name
        self._levels, self._labels = levels, labels
        self._augment = Augment(flip=flip)
        ids = [self._id(i) for i in range(len(levels))]
        whole = train == len(levels)
        self._split = held_out_by_id(ids) if whole else (range(train), range(train, len(levels)))

    def __len__(self) -> int:
        return len(self._levels)

    def __getitem__(self, index: int) -> Item:
        return self._item(index, self._modality.fit(self._media(index), self._shape))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with crop and mirroring drawn from `rng`."""
        media = self._modality.fit(self._media(index), self._shape, rng)
        return self._item(index, self._augment.change_picture(media, rng))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """The published training and test sets; without a test set, a tenth of the training set is held out."""
        return self._split

    def _media(self, index: int) -> Tensor:
        return self._levels[index].float() / 127.5 - 1

    def _id(self, index: int) -> str:
        return f"{self._name}/{index:05}"

    def _item(self, index: int, media: Tensor) -> Item:
        label = int(self._labels[index])
        return Item(media=media, id=self._id(index), text=self.classes[label], label=label)


def picture_shape(modality: Modality, name: str) -> tuple[int, ...]:
    """The modality's shape [C, H, W]. ValueError if it is not one of pictures."""
    shape = modality.shape()
    if len(shape) != 3:
        raise ValueError(f"{name} holds pictures; set modality.name=image instead of {modality.name}")
    return shape
