"""Named tensors in safetensors files: write, read, compare. Pickles are never read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen.errors import MultigenError


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. OSError that names it if it cannot be written."""
    try:
        save_file({k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:  # what safetensors makes of a full disk
        raise OSError(f"{path}: {error}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file; MultigenError names the file if it is anything else."""
    if not path.is_file():
        raise MultigenError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        raise MultigenError(
            f"{path}: weights are read from .safetensors only, never from pickles (.pt, .ckpt, .bin)"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({error})") from error


def mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], limit: int = 5) -> list[str]:
    """The first differences between two sets of tensors, as a user reads them."""
    rows = []
    for name, tensor in expected.items():
        if name not in given:
            rows.append(f"{name} is missing")
        elif given[name].shape != tensor.shape:
            rows.append(f"{name} is {list(given[name].shape)}, expected {list(tensor.shape)}")
    rows += [f"{name} is not expected" for name in given if name not in expected]
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    return rows[:limit] + more
