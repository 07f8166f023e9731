"""Pairs of pictures: one to be made, and one that leads a ControlNet to it, such as its edges or depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen.datasets import Dataset, Item
from multigen.datasets.captions import Captions
from multigen.datasets.folder import Folder
from multigen.datasets.metadata import read_metadata
from multigen.datasets.scan import walk
from multigen.errors import MediaError, RecipeError
from multigen.modalities import Modality
from multigen.modalities.guard import Guard
from multigen.recipe.data_folder import find_folder
from multigen.registry import Given

_ASPECT = 0.02  # by which the shapes of the two may differ


class Pairs(Dataset):
    """The pictures of a folder that have a control picture; the rest is left out.

    path      the folder of the pictures, as of the dataset `folder`
    controls  the folder of the control pictures, with the names of the pictures in any format; null: metadata.jsonl,
              .csv or .parquet beside the pictures say it (`control`, or `conditioning_image`)
    captions  as of the dataset `folder`
    held_out  share of the pairs that is kept from training
    memory    GiB for decoded pictures
    flip      mirror half of the pairs left to right

    RecipeError if no picture has a control picture. `draw` raises MediaError for a pair whose files cannot be read or
    are of different shapes.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        controls: str | None = None,
        captions: Captions = "auto",
        held_out: float = 0.1,
        memory: float = 1.0,
        flip: bool = False,
    ) -> None:
        if modality.name != "image":
            raise ValueError(f"pairs: {modality.name} is not allowed. Allowed: image.")
        self.modality, self._flip, self._guard = modality, flip, Guard()
        folder = Folder(
            modality=modality, path=path, captions=captions, labels="none", held_out=held_out, memory=memory
        )
        self._folder, self._root = folder, find_folder(path, "multigen train RECIPE data.path=./pictures")
        files = [Path(str(folder.source(k))) for k in range(len(folder))]
        found = self._beside(files, controls) if controls is not None else self._told()
        inside = {path.resolve() for path in found.values()}
        self._controls = [
            (k, found[file]) for k, file in enumerate(files) if file in found and file.resolve() not in inside
        ]
        if not self._controls:
            where = f"in {controls}" if controls is not None else 'by a "control" in metadata.jsonl'
            raise RecipeError(
                f"data.controls: none of the {len(files)} pictures has a control picture {where}. Give a folder with "
                "pictures of the same names: data.controls=./edges"
            )
        self.bad: Mapping[str, str] = folder.bad

    def _beside(self, files: Sequence[Path], controls: str) -> dict[Path, Path]:
        """The control picture of each file, by the name below the folder without its suffix."""
        root = find_folder(controls, "multigen train RECIPE data.controls=./edges")
        named = {
            path.relative_to(root).with_suffix(""): path for path in walk(root, self.modality.suffixes).media
        }
        names = {file: file.relative_to(self._root).with_suffix("") for file in files}
        return {file: named[name] for file, name in names.items() if name in named and named[name] != file}

    def _told(self) -> dict[Path, Path]:
        """The control picture of each file that the metadata name."""
        rows = read_metadata(walk(self._root, self.modality.suffixes)).rows
        return {path: row.control for path, row in rows.items() if row.control is not None}

    def __len__(self) -> int:
        return len(self._controls)

    def __getitem__(self, index: int) -> Item:
        number, path = self._controls[index]
        return self._with_control(self._folder[number], number, path)

    def draw(self, index: int, rng: torch.Generator) -> Item:
        """The pair with a caption, and whether it is mirrored, drawn from `rng`; always cut from the centre."""
        item = self[index]
        item["text"] = self._folder.caption(self._controls[index][0], rng)
        if self._flip and float(torch.rand((), generator=rng)) < 0.5:
            assert "control" in item
            item["media"], item["control"] = item["media"].flip(-1), item["control"].flip(-1)
        return item

    def _with_control(self, item: Item, number: int, path: Path) -> Item:
        """MediaError for a control picture that is missing, or of another shape than its picture."""
        if not path.is_file():
            raise MediaError(f"{path}: no such file, which {item['id']} is led by")
        control: Tensor = self._guard(path, self.modality.read, path)
        source = self._folder.source(number)
        own, (height, width) = self._guard(source, self.modality.info, source), control.shape[-2:]
        if abs(width / height * own.height / max(own.width, 1) - 1) > _ASPECT:
            raise MediaError(
                f"{path}: {width} x {height} pixels, and {item['id']} has {own.width} x {own.height}; a pair has one "
                "shape"
            )
        item["control"] = self.modality.fit(control, tuple(item["media"].shape))
        return item

    def split(self) -> tuple[Sequence[int], Sequence[int]]:
        """Training and held-out indices, those of the pictures."""
        place = {number: k for k, (number, _) in enumerate(self._controls)}
        train, held = self._folder.split()
        return [place[k] for k in train if k in place], [place[k] for k in held if k in place]

    def captioned(self) -> int | None:
        """How many pictures have a caption."""
        return self._folder.captioned()

    def summary(self) -> str:
        """Pairs, and what the folder holds."""
        return f"{len(self)} pairs of {self._folder.summary()}"
