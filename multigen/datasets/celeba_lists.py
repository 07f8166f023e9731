"""The lists that come with CelebA: attributes of every face, and its part of the published split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from multigen.datasets.scan import read_text
from multigen.errors import RecipeError

_PARTS = {"0": "train", "1": "valid", "2": "test"}


@dataclass(frozen=True)
class Face:
    """One line of the lists.

    name      of the picture's file
    positive  attributes that the face has, spelled as in the list
    part      "train", "valid" or "test"; "" without list_eval_partition.txt
    """

    name: str
    positive: tuple[str, ...]
    part: str


def read_faces(root: Path) -> tuple[list[str], list[Face]]:
    """The names of the attributes, and every listed face. RecipeError names file and line of a fault."""
    source = root / "list_attr_celeba.txt"
    if not source.is_file() or not (root / "img_align_celeba").is_dir():
        raise RecipeError(
            f"data.path: {root} is not a CelebA folder. Looked for: list_attr_celeba.txt and the folder "
            "img_align_celeba."
        )
    lines = read_text(source).splitlines()
    if len(lines) < 3 or not lines[0].strip().isdecimal():
        raise RecipeError(
            f"{source}: line 1 must be the number of pictures, line 2 the names of the attributes"
        )
    attributes, count = lines[1].split(), int(lines[0])
    rows = [(number, line.split()) for number, line in enumerate(lines[2:], start=3) if line.strip()]
    if len(rows) != count:
        raise RecipeError(f"{source}: truncated: {len(rows):,} rows; its first line says {count:,}")
    parts = _read_parts(root / "list_eval_partition.txt")
    faces = []
    for number, (name, *values) in rows:
        _check_row(name, values, len(attributes), f"{source}, line {number}")
        positive = tuple(a for a, v in zip(attributes, values, strict=True) if v == "1")
        if parts and name not in parts:
            raise RecipeError(f"{root / 'list_eval_partition.txt'}: truncated: {name} is not in it")
        faces.append(Face(name, positive, parts.get(name, "")))
    return attributes, faces


def words(attribute: str) -> str:
    """An attribute as captions spell it: `Wavy_Hair` -> "wavy hair"."""
    return attribute.replace("_", " ").lower()


def _check_row(name: str, values: Sequence[str], attributes: int, where: str) -> None:
    if len(values) != attributes or not {"1", "-1"}.issuperset(values):
        raise RecipeError(f"{where}: not a file name and {attributes} values, each 1 or -1")
    if name != Path(name).name or name in (".", ".."):
        raise RecipeError(
            f"{where}: {name!r} is not allowed. Allowed: the name of a file in img_align_celeba."
        )


def _read_parts(source: Path) -> dict[str, str]:
    """The part of each file; empty if there is no such list."""
    out: dict[str, str] = {}
    if not source.is_file():
        return out
    for number, line in enumerate(read_text(source).splitlines(), start=1):
        fields = line.split()
        if fields and (len(fields) != 2 or fields[1] not in _PARTS):
            raise RecipeError(f"{source}, line {number}: not a file name and 0, 1 or 2")
        if fields:
            out[fields[0]] = _PARTS[fields[1]]
    return out
