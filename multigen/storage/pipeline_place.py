"""Where a pipeline of diffusers stands, told by its files alone: without torch, for checks before any work."""

from __future__ import annotations

from pathlib import Path

INDEX = "model_index.json"


def is_pipeline(path: Path) -> bool:
    """Return whether a folder is a pipeline of diffusers, or the network of one that is a stage of its own."""
    return (path / INDEX).is_file() or bool(stage_of(path)[1])


def stage_of(path: Path) -> tuple[Path, str]:
    """Split a folder into the pipeline's and the name of the network in it that is meant; "": the pipeline itself."""
    inside = not (path / INDEX).is_file() and (path / "config.json").is_file()
    return (path.parent, path.name) if inside and (path.parent / INDEX).is_file() else (path, "")
