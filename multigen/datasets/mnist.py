"""MNIST and other datasets in its format (idx files), read from a local folder. Nothing is downloaded."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen.datasets.labelled_pictures import EXAMPLE_PATH, MAX_BYTES, LabelledPictures
from multigen.datasets.scan import find_folder
from multigen.errors import RecipeError
from multigen.modalities import Modality
from multigen.registry import Given

_DIGITS = ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


class MNIST(LabelledPictures):
    """MNIST (LeCun et al. 1998), and whatever is published in its format (`classes` names the labels).

    path     folder with train-images-idx3-ubyte and train-labels-idx1-ubyte, plain or .gz, or with MNIST/raw that holds
             them. The t10k files beside them are held out
    classes  names of the labels
    flip     mirror half of the training items

    RecipeError for files that are missing, damaged or truncated.
    """

    def __init__(
        self,
        *,
        modality: Given[Modality],
        path: str | None = None,
        classes: tuple[str, ...] = _DIGITS,
        flip: bool = False,
    ) -> None:
        root = find_folder(path, EXAMPLE_PATH)
        folders = [root, root / "raw", root / "MNIST" / "raw"]
        parts = [_part(folders, "train", classes), _part(folders, "t10k", classes)]
        if parts[0] is None:
            names = "train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz)"
            raise RecipeError(f"data.path: {root} is not an MNIST folder. Looked for: {names}.")
        there = [p for p in parts if p is not None]
        if len({p[0].shape[1:] for p in there}) > 1:
            raise RecipeError(f"data.path: {root}: training and test pictures differ in size")
        levels = torch.cat([images for images, _ in there])[:, None]
        labels = [label for _, more in there for label in more]
        super().__init__(modality, "mnist", levels, labels, classes, train=len(there[0][0]), flip=flip)


def _part(folders: Sequence[Path], part: str, classes: Sequence[str]) -> tuple[Tensor, list[int]] | None:
    """uint8 [N, H, W] and N labels of one part; None if it is not there."""
    images = _find(folders, f"{part}-images", "idx3-ubyte")
    labels = _find(folders, f"{part}-labels", "idx1-ubyte")
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        lost = "labels" if labels is None else "images"
        raise RecipeError(f"data.path: {images or labels} is there, but no {part}-{lost} file")
    levels, numbers = read_idx(images, 3), read_idx(labels, 1)
    if len(levels) != len(numbers):
        raise RecipeError(f"{labels}: {len(numbers):,} labels for {len(levels):,} pictures in {images.name}")
    if len(numbers) and int(numbers.max()) >= len(classes):
        raise RecipeError(f"{labels}: label {int(numbers.max())}, but data.classes names {len(classes)}")
    return levels, numbers.tolist()


def _find(folders: Sequence[Path], stem: str, kind: str) -> Path | None:
    names = [f"{stem}{dot}{kind}{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / n for folder in folders for n in names if (folder / n).is_file()), None)


def read_idx(path: Path, axes: int) -> Tensor:
    """An idx file of unsigned bytes with `axes` axes, plain or .gz, as uint8. RecipeError for any other file."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            shape = _shape(path, file.read(4 + 4 * axes), axes)
            count = math.prod(shape)
            content = bytearray(file.read(count + 1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecipeError(f"{path}: damaged or truncated ({error})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) != count:
        fault = "truncated" if len(content) < count else "longer than its header says"
        raise RecipeError(f"{path}: {fault}: {count:,} bytes for {' x '.join(map(str, shape))}")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)


def _shape(path: Path, header: bytes, axes: int) -> tuple[int, ...]:
    """The shape that an idx header declares. RecipeError if it is not one of `axes` axes of bytes, or too large."""
    magic = header[:4].hex()
    if magic != f"000008{axes:02x}":
        raise RecipeError(
            f"{path}: starts with {magic or 'nothing'}; an idx file of {axes} axes of bytes starts with "
            f"000008{axes:02x}"
        )
    if len(header) < 4 + 4 * axes:
        raise RecipeError(f"{path}: truncated within its header")
    shape = struct.unpack(f">{axes}I", header[4:])
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise RecipeError(f"{path}: its header says {' x '.join(map(str, shape))}, which is impossible")
    return shape
