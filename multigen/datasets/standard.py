"""MNIST, CIFAR-10 and CelebA as they are published, read from a local path. Nothing is downloaded or unpickled."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.datasets import held_out as held_out_by_id
from multigen.datasets.augment import Augment
from multigen.datasets.scan import find_folder
from multigen.datasets.standard_files import (
    celeba_faces,
    cifar_classes,
    cifar_folder,
    cifar_rows,
    mnist_part,
    words,
)
from multigen.errors import RecipeError, message
from multigen.modalities import Modality
from multigen.registry import Given

_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


_EXAMPLE = "data.path=./downloads"


class Pictures(Dataset):
    """Labelled pictures in memory: `levels` uint8 [N, C, H, W], the first `train` of them the training set."""

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
        self._modality, self._shape, self._name = modality, _picture_shape(modality, name), name
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
        """Item with crop and mirroring drawn from `rng`."""
        media = self._modality.fit(self._media(index), self._shape, rng)
        return self._item(index, self._augment.coloured(media, rng))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """The published training and test set; a tenth of the training set is held out where the other is missing."""
        return self._split

    def _media(self, index: int) -> Tensor:
        return self._levels[index].float() / 127.5 - 1

    def _id(self, index: int) -> str:
        return f"{self._name}/{index:05}"

    def _item(self, index: int, media: Tensor) -> Item:
        label = int(self._labels[index])
        return Item(media=media, id=self._id(index), text=self.classes[label], label=label)


class MNIST(Pictures):
    """MNIST (LeCun et al. 1998), and whatever is published in its format (`classes` names the labels).

    `path` holds train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, or MNIST/raw with them; the
    t10k files beside them are held out. RecipeError for missing, damaged or truncated files.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        classes: tuple[str, ...] = _DIGITS,
        flip: bool = False,
    ) -> None:
        root = find_folder(path, _EXAMPLE)
        folders = [root, root / "raw", root / "MNIST" / "raw"]
        parts = [mnist_part(folders, "train", classes), mnist_part(folders, "t10k", classes)]
        if parts[0] is None:
            names = "train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz)"
            raise RecipeError(f"data.path: {root} is no MNIST folder. Looked for: {names}.")
        there = [p for p in parts if p is not None]
        if len({p[0].shape[1:] for p in there}) > 1:
            raise RecipeError(f"data.path: {root}: training and test pictures differ in size")
        levels = torch.cat([images for images, _ in there])[:, None]
        labels = [label for _, more in there for label in more]
        super().__init__(modality, "mnist", levels, labels, classes, train=len(there[0][0]), flip=flip)


class CIFAR10(Pictures):
    """CIFAR-10, binary version (Krizhevsky 2009): data_batch_1.bin to data_batch_5.bin, batches.meta.txt.

    `path` holds them, or cifar-10-batches-bin with them; test_batch.bin beside them is held out. The version in
    Python pickles is refused: a pickle can run any code. RecipeError for missing or truncated files.
    """

    def __init__(self, *, modality: Given[Modality], path: str | None = None, flip: bool = False) -> None:
        root = cifar_folder(find_folder(path, _EXAMPLE))
        classes = cifar_classes(root / "batches.meta.txt")
        names = [f"data_batch_{k}.bin" for k in range(1, 6)]
        missing = [name for name in names if not (root / name).is_file()]
        if missing:
            raise RecipeError(f"data.path: {root} lacks {', '.join(missing)}")
        rows = [cifar_rows(root / name, len(classes)) for name in names]
        lengths = [len(r) for r in rows]
        short = min(range(5), key=lengths.__getitem__)
        if lengths[short] < max(lengths):
            raise RecipeError(
                f"{root / names[short]}: truncated: {lengths[short]:,} pictures; the others have {max(lengths):,}"
            )
        if (root / "test_batch.bin").is_file():
            rows.append(cifar_rows(root / "test_batch.bin", len(classes)))
        whole = torch.cat(rows)
        levels, labels = whole[:, 1:].reshape(-1, 3, 32, 32), whole[:, 0].tolist()
        super().__init__(modality, "cifar10", levels, labels, classes, train=sum(lengths), flip=flip)


class CelebA(Dataset):
    """CelebA (Liu et al. 2015), aligned: img_align_celeba/, list_attr_celeba.txt, list_eval_partition.txt if there.

    path: the folder with them (or celeba/ in it)
    label: an attribute (Smiling, Eyeglasses ...) as label, 0 without and 1 with it; null: no labels

    The caption is the list of attributes that a face has. Held out is the published validation set, or a tenth
    without list_eval_partition.txt; the test set is in neither. `bad` names listed pictures that are missing.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        label: str | None = None,
        flip: bool = False,
    ) -> None:
        root = find_folder(path, _EXAMPLE)
        root = next((r for r in (root, root / "celeba") if (r / "list_attr_celeba.txt").is_file()), root)
        self._modality, self._shape = modality, _picture_shape(modality, "celeba")
        self._folder, self._augment = root / "img_align_celeba", Augment(flip=flip)
        attributes, faces = celeba_faces(root)
        if label is not None and label not in attributes:
            raise RecipeError(message("data.label", label, attributes))
        self._label = label
        self.classes = () if label is None else (f"not {words(label)}", words(label))
        there = {entry.name for entry in os.scandir(self._folder)}
        self._faces = [face for face in faces if face.name in there]
        gone = [self._folder / face.name for face in faces if face.name not in there]
        self.bad = {str(p): f"{p}: no such file (list_attr_celeba.txt names it)" for p in gone}
        if not self._faces:
            raise RecipeError(f"data.path: {self._folder} holds none of the {len(faces):,} listed pictures")

    def __len__(self) -> int:
        return len(self._faces)

    def __getitem__(self, index: int) -> Item:
        """Item at the centre crop. MediaError if the picture cannot be read."""
        return self._item(index, self._modality.fit(self._read(index), self._shape))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """Item with crop and mirroring drawn from `rng`. MediaError if the picture cannot be read."""
        media = self._modality.fit(self._read(index), self._shape, rng)
        return self._item(index, self._augment.coloured(media, rng))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """The published training and validation sets."""
        parts = [face.part for face in self._faces]
        if not any(parts):
            return held_out_by_id([face.name for face in self._faces])
        train, valid = ([i for i, part in enumerate(parts) if part == name] for name in ("train", "valid"))
        return train, valid

    def _read(self, index: int) -> Tensor:
        return self._modality.read(self._folder / self._faces[index].name)

    def _item(self, index: int, media: Tensor) -> Item:
        face = self._faces[index]
        item = Item(media=media, id=face.name, text=", ".join(map(words, face.positive)))
        if self._label is not None:
            item["label"] = int(self._label in face.positive)
        return item


def _picture_shape(modality: Modality, name: str) -> tuple[int, ...]:
    shape = modality.shape()
    if len(shape) != 3:
        raise ValueError(f"{name} holds pictures; set modality.name=image instead of {modality.name}")
    return shape
