"""The file formats of MNIST (idx), CIFAR-10 (binary) and CelebA (lists), with every fault named."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from multigen.errors import RecipeError

_CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
_CIFAR_ROW = 1 + 3 * 32 * 32  # bytes: the label, then red, green and blue planes
_MAX_BYTES = 4 * 1024**3
_CELEBA_PARTS = {"0": "train", "1": "valid", "2": "test"}


# --- MNIST: idx files -------------------------------------------------------------------------------------------


def mnist_part(folders: Sequence[Path], part: str, classes: Sequence[str]) -> tuple[Tensor, list[int]] | None:
    """uint8 [N, H, W] and N labels of one part; None if it is not there."""
    images = _mnist_file(folders, f"{part}-images", "idx3-ubyte")
    labels = _mnist_file(folders, f"{part}-labels", "idx1-ubyte")
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


def _mnist_file(folders: Sequence[Path], stem: str, kind: str) -> Path | None:
    names = [f"{stem}{dot}{kind}{end}" for dot in "-." for end in ("", ".gz")]
    return next((folder / n for folder in folders for n in names if (folder / n).is_file()), None)


def read_idx(path: Path, axes: int) -> Tensor:
    """An idx file of unsigned bytes with `axes` axes, plain or .gz, as uint8. RecipeError if it is no such file."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            head = file.read(4 + 4 * axes)
            magic = head[:4].hex()
            if magic != f"000008{axes:02x}":
                raise RecipeError(
                    f"{path}: begins with {magic or 'nothing'}; an idx file of {axes} axes of bytes "
                    f"begins with 000008{axes:02x}"
                )
            if len(head) < 4 + 4 * axes:
                raise RecipeError(f"{path}: truncated within its header")
            shape = struct.unpack(f">{axes}I", head[4:])
            count = math.prod(shape)
            if not 0 < count <= _MAX_BYTES:
                raise RecipeError(f"{path}: its header says {' x '.join(map(str, shape))}; that cannot be")
            content = bytearray(file.read(count + 1))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise RecipeError(f"{path}: damaged or truncated ({error})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) != count:
        fault = "truncated" if len(content) < count else "longer than its header says"
        raise RecipeError(f"{path}: {fault}: {count:,} bytes for {' x '.join(map(str, shape))}")
    return torch.frombuffer(content, dtype=torch.uint8).reshape(shape)


# --- CIFAR-10: rows of bytes ------------------------------------------------------------------------------------


def cifar_folder(root: Path) -> Path:
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
        f"data.path: {root} is no CIFAR-10 folder. Looked for: data_batch_1.bin to data_batch_5.bin."
    )


def cifar_classes(meta: Path) -> tuple[str, ...]:
    """The names in batches.meta.txt, or the published ones where it is missing."""
    if not meta.is_file():
        return _CIFAR_CLASSES
    names = tuple(line.strip() for line in _text(meta).splitlines() if line.strip())
    if not names:
        raise RecipeError(f"{meta}: names no classes")
    return names


def cifar_rows(path: Path, classes: int) -> Tensor:
    """uint8 [N, 3073]."""
    size = path.stat().st_size
    if not 0 < size <= _MAX_BYTES or size % _CIFAR_ROW:
        raise RecipeError(
            f"{path}: {size:,} bytes: truncated, or no CIFAR-10 batch; it must be N x {_CIFAR_ROW:,}"
        )
    rows = torch.frombuffer(bytearray(path.read_bytes()), dtype=torch.uint8).reshape(-1, _CIFAR_ROW)
    if int(rows[:, 0].max()) >= classes:
        raise RecipeError(f"{path}: label {int(rows[:, 0].max())}, but there are {classes} classes")
    return rows


# --- CelebA: lists ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    name: str
    positive: tuple[str, ...]  # attributes, as the list spells them
    part: str


def celeba_faces(root: Path) -> tuple[list[str], list[Face]]:
    """The names of the attributes, and every listed face."""
    source = root / "list_attr_celeba.txt"
    if not source.is_file() or not (root / "img_align_celeba").is_dir():
        raise RecipeError(
            f"data.path: {root} is no CelebA folder. Looked for: list_attr_celeba.txt and the folder img_align_celeba."
        )
    lines = _text(source).splitlines()
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise RecipeError(
            f"{source}: line 1 must be the number of pictures, line 2 the names of the attributes"
        )
    attributes, count = lines[1].split(), int(lines[0])
    rows = [(number, line.split()) for number, line in enumerate(lines[2:], start=3) if line.strip()]
    if len(rows) != count:
        raise RecipeError(f"{source}: truncated: {len(rows):,} rows; its first line says {count:,}")
    parts = _celeba_parts(root / "list_eval_partition.txt")
    faces = []
    for number, (name, *values) in rows:
        _check_row(name, values, len(attributes), f"{source}, line {number}")
        positive = tuple(a for a, v in zip(attributes, values, strict=True) if v == "1")
        if parts and name not in parts:
            raise RecipeError(f"{root / 'list_eval_partition.txt'}: truncated: {name} is not in it")
        faces.append(Face(name, positive, parts.get(name, "")))
    return attributes, faces


def _check_row(name: str, values: Sequence[str], attributes: int, where: str) -> None:
    if len(values) != attributes or not {"1", "-1"}.issuperset(values):
        raise RecipeError(f"{where}: not a file name and {attributes} values, each 1 or -1")
    if name != Path(name).name or name in (".", ".."):
        raise RecipeError(
            f"{where}: {name!r} is not allowed. Allowed: the name of a file in img_align_celeba."
        )


def _celeba_parts(source: Path) -> dict[str, str]:
    """Which part each file belongs to; nothing if the list is not there."""
    out: dict[str, str] = {}
    if not source.is_file():
        return out
    for number, line in enumerate(_text(source).splitlines(), start=1):
        words = line.split()
        if words and (len(words) != 2 or words[1] not in _CELEBA_PARTS):
            raise RecipeError(f"{source}, line {number}: not a file name and 0, 1 or 2")
        if words:
            out[words[0]] = _CELEBA_PARTS[words[1]]
    return out


def words(attribute: str) -> str:
    """`Wavy_Hair` as a caption says it: "wavy hair"."""
    return attribute.replace("_", " ").lower()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror})") from None
