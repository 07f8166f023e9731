"""CIFAR-10 in its binary version, read from a local folder. Nothing is downloaded or unpickled."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from multigen.datasets.labelled_pictures import EXAMPLE_PATH, MAX_BYTES, LabelledPictures
from multigen.datasets.scan import find_folder, read_text
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.registry import Given

_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_ROW = 1 + 3 * 32 * 32  # bytes: the label, then red, green and blue planes


class CIFAR10(LabelledPictures):
    """CIFAR-10, binary version (Krizhevsky 2009): data_batch_1.bin to data_batch_5.bin, batches.meta.txt.

    path  folder with these files, or with cifar-10-batches-bin that holds them. test_batch.bin beside them is held out
    flip  mirror half of the training items

    The version in Python pickles is refused, since a pickle can run any code. RecipeError for files that are missing
    or truncated.
    """

    def __init__(self, *, modality: Given[Modality], path: str | None = None, flip: bool = False) -> None:
        root = _binary_folder(find_folder(path, EXAMPLE_PATH))
        classes = _class_names(root / "batches.meta.txt")
        names = [f"data_batch_{k}.bin" for k in range(1, 6)]
        missing = [name for name in names if not (root / name).is_file()]
        if missing:
            raise RecipeError(f"data.path: {root} lacks {', '.join(missing)}")
        rows = [_rows(root / name, len(classes)) for name in names]
        lengths = [len(r) for r in rows]
        short = min(range(5), key=lengths.__getitem__)
        if lengths[short] < max(lengths):
            raise RecipeError(
                f"{root / names[short]}: truncated: {lengths[short]:,} pictures; the others have {max(lengths):,}"
            )
        if (root / "test_batch.bin").is_file():
            rows.append(_rows(root / "test_batch.bin", len(classes)))
        whole = torch.cat(rows)
        levels, labels = whole[:, 1:].reshape(-1, 3, 32, 32), whole[:, 0].tolist()
        super().__init__(modality, "cifar10", levels, labels, classes, train=sum(lengths), flip=flip)


def _binary_folder(root: Path) -> Path:
    """The folder with the batches. RecipeError if there is none, or only the pickled version."""
    for folder in (root, root / "cifar-10-batches-bin"):
        if any(folder.glob("data_batch_*.bin")):
            return folder
    pickles = [p for f in (root, root / "cifar-10-batches-py") for p in f.glob("data_batch_?")]
    if pickles:
        raise RecipeError(
            f"data.path: {pickles[0].parent} is the Python version of CIFAR-10: pickles, which can run any code "
            "when read. Take the binary version (cifar-10-binary.tar.gz, with data_batch_1.bin) from the same page."
        )
    raise RecipeError(
        f"data.path: {root} is not a CIFAR-10 folder. Looked for: data_batch_1.bin to data_batch_5.bin."
    )


def _class_names(meta: Path) -> tuple[str, ...]:
    """The names in batches.meta.txt, or the published names if the file is missing."""
    if not meta.is_file():
        return _CLASSES
    names = tuple(line.strip() for line in read_text(meta).splitlines() if line.strip())
    if not names:
        raise RecipeError(f"{meta}: names no classes")
    return names


def _rows(path: Path, classes: int) -> Tensor:
    """uint8 [N, 3073]: label and planes of each picture. RecipeError if the file is not a batch of such rows."""
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES or size % _ROW:
        raise RecipeError(
            f"{path}: {size:,} bytes: truncated, or not a CIFAR-10 batch; it must be N x {_ROW:,} bytes"
        )
    rows = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).reshape(-1, _ROW)
    if int(rows[:, 0].max()) >= classes:
        raise RecipeError(f"{path}: label {int(rows[:, 0].max())}, but there are {classes} classes")
    return rows
