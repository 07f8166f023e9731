"""`multigen convert`: tensors of a pickled checkpoint (.ckpt, .pt, .pth, .bin) as a safetensors file."""

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


def convert(source: Path, target: Path, *, key: str | None = None) -> tuple[int, list[str]]:
    """Write the tensors of a pickle to a new safetensors file; returns their number, and what was left out.

    Read by torch's weights-only unpickler, which runs no code. `key`: the entry whose tensors are meant (state_dict,
    ema ...), nested ones with dots; needed where several entries have tensors. MultigenError for a pickle that holds
    anything but tensors, plain values and containers, for one without tensors, and if the target is there already.
    """
    if target.suffix != ".safetensors":
        raise MultigenError(f"{target}: weights are saved as .safetensors")
    if target.exists():
        raise MultigenError(f"{target}: is there already; give another name")
    data = _read(source)
    groups = {name: rows for name, rows in _groups(data, "") if rows}
    if not groups:
        raise MultigenError(f"{source}: there are no tensors in it")
    if key is None and len(groups) > 1:
        raise MultigenError(f"{source}: several entries have tensors; give --key, one of: {_list(groups)}")
    if key is not None and key not in groups:
        raise MultigenError(message("--key", key, [name or "''" for name in groups]))
    chosen = next(iter(groups)) if key is None else key
    # Tensors may share their memory, which the file cannot say.
    tensors = {name: value.clone() for name, value in groups[chosen].items()}
    with atomic(target) as temporary:
        save_tensors(temporary, tensors)
    return len(tensors), [name for name in groups if name != chosen]


def _read(source: Path) -> Any:
    if not source.is_file():
        raise MultigenError(f"{source}: no such file")
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise MultigenError(
            f"{source}: is refused, for it holds more than tensors, or is no checkpoint of torch "
            f"({_first_line(error)})"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MultigenError(f"{source}: cannot be read ({_first_line(error)})") from error


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _groups(value: Any, name: str) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """The mappings that directly hold tensors, each by its place."""
    if not isinstance(value, Mapping):
        return
    yield name, {str(k): v for k, v in value.items() if isinstance(v, Tensor)}
    for key, inner in value.items():
        yield from _groups(inner, f"{name}.{key}" if name else str(key))


def _list(groups: Mapping[str, Mapping[str, Tensor]], limit: int = 8) -> str:
    rows = [f"{name or 'the file itself'} ({len(rows)} tensors)" for name, rows in groups.items()]
    return ", ".join(rows[:limit]) + (f" and {len(rows) - limit} more" if len(rows) > limit else "")
