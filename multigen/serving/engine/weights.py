"""How much memory a model's weights take, before they are read."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from multigen.recipe.paths import RECIPE, WEIGHTS, shipped_weights
from multigen.recipe.schema import Recipe
from multigen.storage import lora

_LARGE = ("F64", "I64", "U64")  # 8 bytes; whole numbers of fewer keep theirs, floats become fp32


def expected_bytes(source: str, recipe: Recipe) -> int:
    """Bytes that the weights at a source take in memory, by the headers of its files; 0 where they cannot be told."""
    return sum(_bytes(path) for path in _files(source, recipe))


def _files(source: str, recipe: Recipe) -> list[Path]:
    """The files that a source's weights are read from."""
    place = shipped_weights().get(source) or Path(source).expanduser()
    if place.suffix == ".safetensors" and place.is_file():
        return [place]
    if (place / RECIPE).is_file():
        return _of_run(place, recipe)
    if place.is_dir():
        files = sorted(place.rglob("*.safetensors"))
        return [path for path in files if ".fp16." not in path.name] or files
    if (Path("runs") / recipe.name / RECIPE).is_file():
        return _of_run(Path("runs") / recipe.name, recipe)
    return [] if recipe.weights in (None, source) else _files(str(recipe.weights), recipe)


def _of_run(folder: Path, recipe: Recipe) -> list[Path]:
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    newest = sorted(folder.glob("checkpoints/*/ema.safetensors"))[-1:]
    added = [folder / lora.FILE] if (folder / lora.FILE).is_file() else newest
    if recipe.train.adapter is not None and recipe.train.init not in (None, str(folder)):
        return [*added, *_files(str(recipe.train.init), recipe)]
    if added or recipe.weights in (None, str(folder)):
        return added
    return _files(str(recipe.weights), recipe)


def _bytes(path: Path) -> int:
    try:
        with safe_open(path, "pt") as file:
            slices = [file.get_slice(name) for name in file.keys()]  # noqa: SIM118 - it is no mapping
            return sum(math.prod(one.get_shape()) * _size(one.get_dtype()) for one in slices)
    except (SafetensorError, OSError):
        return 0


def _size(dtype: str) -> int:
    if dtype in _LARGE:
        return 8
    return 4 if dtype.startswith(("F", "BF")) else {"32": 4, "16": 2}.get(dtype[1:], 1)
