"""Files of weights, as far as they are known without their content. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from multigen.errors import MultigenError

PICKLES = (".pt", ".pth", ".ckpt", ".bin")


def check_weights_file(path: Path) -> None:
    """MultigenError unless a file is there whose name is that of weights."""
    if not path.is_file():
        raise MultigenError(f"{path}: no such file")
    if path.suffix != ".safetensors":
        how = f". Convert it, which runs no code: multigen convert {path} {path.with_suffix('.safetensors')}"
        raise MultigenError(
            f"{path}: weights are read from .safetensors only, never from pickles (.pt, .ckpt, .bin)"
            + (how if path.suffix in PICKLES else "")
        )
