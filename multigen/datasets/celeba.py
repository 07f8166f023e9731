"""CelebA, aligned and cropped, read from a local folder. Nothing is downloaded."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.datasets import held_out as held_out_by_id
from multigen.datasets.augment import Augment
from multigen.datasets.celeba_lists import read_faces, words
from multigen.datasets.labelled_pictures import EXAMPLE_PATH, picture_shape
from multigen.datasets.scan import find_folder
from multigen.errors import RecipeError, message
from multigen.modalities import Modality
from multigen.registry import Given


class CelebA(Dataset):
    """CelebA (Liu et al. 2015): img_align_celeba/, list_attr_celeba.txt and, optionally, list_eval_partition.txt.

    path   folder with these files, or with celeba/ that holds them
    label  an attribute (Smiling, Eyeglasses ...) as the label, 0 without and 1 with it; null: no labels
    flip   mirror half of the training items

    The caption lists the attributes of a face. The published validation set is held out, or a tenth of the faces
    without list_eval_partition.txt; the test set is on neither side. `bad` names listed pictures that are missing.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        label: str | None = None,
        flip: bool = False,
    ) -> None:
        root = find_folder(path, EXAMPLE_PATH)
        root = next((r for r in (root, root / "celeba") if (r / "list_attr_celeba.txt").is_file()), root)
        self._modality, self._shape = modality, picture_shape(modality, "celeba")
        self._folder, self._augment = root / "img_align_celeba", Augment(flip=flip)
        attributes, faces = read_faces(root)
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
        """The item with a centre crop. MediaError if the picture cannot be read."""
        return self._item(index, self._modality.fit(self._read(index), self._shape))

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The item with crop and mirroring drawn from `rng`. MediaError if the picture cannot be read."""
        media = self._modality.fit(self._read(index), self._shape, rng)
        return self._item(index, self._augment.change_picture(media, rng))

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """The published training and validation sets, or a hash of the names without the list."""
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
