"""Convert pickled checkpoints (.ckpt, .pt, .pth, .bin) to safetensors files, for `multigen convert`."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from multigen.errors import MultigenError, message
from multigen.storage.files import atomic
from multigen.storage.tensors import save_tensors

# Packages of trainers, whose checkpoints hold objects beside the weights.
_TRAINERS = ("pytorch_lightning.", "lightning.", "lightning_fabric.", "lightning_utilities.", "omegaconf.")


def convert(source: Path, target: Path, *, key: str | None = None) -> tuple[int, list[str]]:
    """Write the tensors of a pickle to a new safetensors file. Returns their number and the entries left out.

    key   the entry to convert (state_dict, ema ...), nested ones with dots; needed if several contain tensors

    torch's weights-only unpickler reads the file and runs no code. Raises MultigenError for a pickle that contains
    anything but tensors, plain values and containers, for one without tensors, and if the target exists.
    """
    if target.suffix != ".safetensors":
        raise MultigenError(f"{target}: weights are saved as .safetensors")
    if target.exists():
        raise MultigenError(f"{target}: the file exists; give another name")
    data = _read(source)
    groups = {name: rows for name, rows in _groups(data, "") if rows}
    if not groups:
        raise MultigenError(f"{source}: it contains no tensors")
    if key is None and len(groups) > 1:
        raise MultigenError(
            f"{source}: several entries contain tensors; choose one with --key: {_list(groups)}"
        )
    if key is not None and key not in groups:
        raise MultigenError(message("--key", key, [name or "''" for name in groups]))
    chosen = next(iter(groups)) if key is None else key
    # Tensors may share memory, which safetensors cannot store.
    tensors = {name: value.clone() for name, value in groups[chosen].items()}
    with atomic(target) as temporary:
        save_tensors(temporary, tensors)
    return len(tensors), [name for name in groups if name != chosen]


def _read(source: Path) -> Any:
    if not source.is_file():
        raise MultigenError(f"{source}: no such file")
    try:
        with torch.serialization.safe_globals(_inert(source)):
            return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MultigenError(
            f"{source}: refused, because it contains more than tensors, or is not a checkpoint of torch "
            f"({_first_line(error)})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MultigenError(f"{source}: cannot be read ({_first_line(error)})") from error


class _Inert:
    """Stands for an object of a trainer, such as a callback of Lightning. It runs nothing and keeps nothing."""

    def __new__(cls, *args: object) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *args: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


def _inert(source: Path) -> list[Any]:
    """What stands for the trainers' classes that a checkpoint names: their own code is never imported."""
    try:
        named = torch.serialization.get_unsafe_globals_in_checkpoint(source)
    except (pickle.UnpicklingError, OSError, RuntimeError, EOFError, ValueError, KeyError):  # `_read` says so
        return []
    return [(_Inert, name) for name in named if name.startswith(_TRAINERS)]


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _groups(value: Any, name: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the mappings with their tensors, by dotted name."""
    if not isinstance(value, Mapping):
        return
    yield name, {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
    for key, inner in value.items():
        yield from _groups(inner, f"{name}.{key}" if name else str(key))


def _list(groups: Mapping[str, Mapping[str, Tensor]], limit: int = 8) -> str:
    rows = [f"{name or 'the file itself'} ({len(rows)} tensors)" for name, rows in groups.items()]
    return ", ".join(rows[:limit]) + (f" and {len(rows) - limit} more" if len(rows) > limit else "")
