"""Named tensors in safetensors files: write, read, compare. Pickles are never read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from multigen.errors import MultigenError, reason
from multigen.storage.int8 import SCALE, unpacked
from multigen.storage.weights_file import check_weights_file

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. OSError that names the file if it cannot be written."""
    try:
        save_file({k: v.detach().to("cpu").contiguous() for k, v in tensors.items()}, path, metadata=metadata)
    except SafetensorError as error:  # as safetensors reports a full disk
        raise OSError(f"{path}: {reason(error)}") from error


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file. MultigenError if it is missing, damaged or anything else.

    Weights that are stored in 8 bits (`storage.int8`) come as float32.
    """
    check_weights_file(path)
    try:
        return unpacked(load_file(path))
    except (
        SafetensorError,
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # torch opens it again: it may be gone by then
        raise MultigenError(f"{path}: not a readable safetensors file ({reason(error)})") from error


def read_header(path: Path) -> dict[str, str]:
    """Read the metadata of a safetensors file; {} if it has none. MultigenError if it cannot be read."""
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({reason(error)})") from error


class Span(NamedTuple):
    """Where a tensor stands in a file, and what it is."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int  # byte


def spans(path: Path) -> dict[str, Span]:
    """Return where the tensors of a safetensors file stand, by name. MultigenError if it cannot be read."""
    try:
        with safe_open(path, "pt") as file:  # which checks the file
            names = list(file.keys())
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        rows = {name: header[name] for name in names}
        return {
            name: Span(_DTYPES[row["dtype"]], tuple(row["shape"]), 8 + size + row["data_offsets"][0])
            for name, row in rows.items()
        }
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({reason(error)})") from error


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read the shapes of a safetensors file's tensors, by name. MultigenError as `load_tensors`."""
    check_weights_file(path)
    try:
        with safe_open(path, "pt") as file:
            names = [name for name in file.keys() if not name.endswith(SCALE)]  # noqa: SIM118
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (SafetensorError, OSError) as error:
        raise MultigenError(f"{path}: not a readable safetensors file ({reason(error)})") from error


def mismatches(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], limit: int = 5) -> list[str]:
    """List the first differences between two sets of tensors, as text for a message."""
    rows = []
    for name, tensor in expected.items():
        if name not in given:
            rows.append(f"{name} is missing")
        elif given[name].shape != tensor.shape:
            rows.append(f"{name} is {list(given[name].shape)}, expected {list(tensor.shape)}")
    rows += [f"{name} is not expected" for name in given if name not in expected]
    more = [f"and {len(rows) - limit} more"] if len(rows) > limit else []
    return rows[:limit] + more
