"""How much memory a model's weights take, before they are read."""

from __future__ import annotations

import math
from pathlib import Path

from safetensors import SafetensorError, safe_open

from multigen.model.source import Place
from multigen.recipe.paths import WEIGHTS, shipped_weights
from multigen.recipe.schema import Recipe
from multigen.storage import lora
from multigen.training import checkpoint as checkpoints

_LARGE = ("F64", "I64", "U64")  # 8 bytes; whole numbers of fewer keep theirs, floats become fp32


def expected_bytes(place: Place) -> int:
    """Bytes that weights take in memory, by the headers of their files; 0 where they cannot be told."""
    if place.path is not None:
        files = [place.path] if place.path.is_file() else _of_run(place.path, place.trained)
    else:
        files = _of_pipeline(Path(place.where).expanduser())
    return sum(_bytes(path) for path in files)


def _of_pipeline(folder: Path) -> list[Path]:
    files = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    return [path for path in files if ".fp16." not in path.name] or files


def _of_run(folder: Path, recipe: Recipe) -> list[Path]:
    """The final weights, or the average in the newest checkpoint; beside a LoRA, what it was trained on."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    newest = [one / "ema.safetensors" for one in checkpoints.found(folder / "checkpoints")[-1:]]
    own = [folder / lora.FILE] if (folder / lora.FILE).is_file() else newest
    if recipe.train.adapter is None or recipe.train.init is None:
        return own
    base = shipped_weights().get(recipe.train.init) or Path(recipe.train.init).expanduser()
    return [*own, base if base.is_file() else base / WEIGHTS]


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
