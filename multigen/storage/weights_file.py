"""Files of weights, as far as they are known without their content. Nothing here imports torch."""

from __future__ import annotations

import shlex
from pathlib import Path

from multigen.errors import MultigenError

PICKLES = (".ckpt", ".bin", ".pt", ".pth")


def check_weights_file(path: Path) -> None:
    """MultigenError unless a file is there whose name is that of weights."""
    if not path.is_file():
        raise MultigenError(f"{path}: no such file")
    if path.suffix in PICKLES:
        raise pickled(path)
    if path.suffix != ".safetensors":
        raise MultigenError(f"{path}: weights are read from .safetensors only")


def pickled(path: Path, target: Path | None = None) -> MultigenError:
    """Say that a pickle is never loaded, and how to get its tensors."""
    line = ["multigen", "convert", str(path), str(target or path.with_suffix(".safetensors"))]
    return MultigenError(
        f"{path}: weights are read from .safetensors only, never from pickles (.pt, .ckpt, .bin). Convert it, which "
        f"runs no code: {shlex.join(line)}"
    )
