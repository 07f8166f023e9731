"""What a trained model can be exported to. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from multigen.errors import MultigenError, message


@dataclass(frozen=True)
class Target:
    """A form in which a model is passed on.

    suffix  of the file; "": it is a folder
    about   what it is, for help
    """

    suffix: str
    about: str


SINGLE_FILE, ONNX, DIFFUSERS = "single-file", "onnx", "diffusers"
ONNX_PACKAGES = ("onnx", "onnxruntime")  # what writes and what checks a graph
TARGETS: Mapping[str, Target] = {
    SINGLE_FILE: Target(".safetensors", "one file with the recipe in it, which multigen opens"),
    ONNX: Target(".onnx", "the denoiser, for any runtime"),
    DIFFUSERS: Target("", "a folder that diffusers loads"),
}


def target(name: str) -> Target:
    """By name; MultigenError with the nearest."""
    if name not in TARGETS:
        raise MultigenError(message("--to", name, TARGETS))
    return TARGETS[name]


def place(name: str, model: str, out: Path | None) -> Path:
    """Where a model is exported to: `out`, or a place named after it. MultigenError for a wrong suffix."""
    wanted = target(name).suffix
    if out is None:
        return Path(f"{model}{wanted}" if wanted else f"{model}-{name}")
    if wanted == out.suffix or (not wanted and out.suffix not in {t.suffix for t in TARGETS.values()}):
        return out
    other = next((n for n, t in TARGETS.items() if t.suffix == out.suffix and t.suffix), None)
    hint = f" Did you mean --to {other}?" if other else ""
    kind = f"a {wanted} file" if wanted else "a folder"
    raise MultigenError(f"{out}: --to {name} writes {kind}.{hint}")
