"""Students: what a model was distilled into, which makes the same in a few calls of its network (`fast`).

A student is the file of a LoRA on its teacher's weights. Its header says how it samples. Shipped ones stand beside the
weights of their teachers. Nothing here imports torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from multigen.errors import RecipeError, message, reason
from multigen.recipe.paths import shipped_weights
from multigen.recipe.reader import MAX_BYTES, Source, parse, show
from multigen.recipe.schema import Recipe

FILE = "fast.safetensors"  # beside the weights of its teacher
ABOUT, SAMPLING = "multigen", "sampling"  # the entry of a header, and what of it says how a student samples
# What a student samples in its own way.
KEYS = ("sampler", "timesteps", "guide", "modifiers", "sample")
_SAMPLE = ("steps", "polish")
_LARGEST = 8 * 1024 * 1024  # bytes of a header; that of a LoRA on a large network has some hundred thousand


def students() -> dict[str, Path]:
    """Return the shipped students, by the name of their teacher's weights."""
    there = {name: path.parent / FILE for name, path in shipped_weights().items()}
    return {name: path for name, path in there.items() if path.is_file()}


def student_file(weights: str | None, fast: bool | str) -> Path:
    """Find a student: the shipped one of a model's weights, or a file or the run folder that trained it.

    RecipeError where there is none.
    """
    known = students()
    if isinstance(fast, bool):
        if weights in known:
            return known[weights]
        have = f"Models with one: {', '.join(known)}. " if known else ""
        raise RecipeError(
            f"fast: {weights or 'this model'} has no student that is shipped. {have}Distil your own (multigen train "
            "distill_emoji shows how) and name it: fast=runs/distill_mine"
        )
    path = Path(fast).expanduser()
    if path.is_dir():
        path = next((one for one in sorted(path.glob("*.safetensors")) if sampling_of(one)), path / FILE)
    if not path.is_file():
        raise RecipeError(
            message("fast", fast, ["true", "false", *map(str, known.values())], "Or a student's file.")
        )
    return path


def sampling(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Return how a recipe, as plain data, samples: what a student's header says."""
    how = {key: recipe[key] for key in KEYS}
    return how | {"sample": {key: recipe["sample"][key] for key in _SAMPLE}}


def sampling_of(path: Path) -> dict[str, Any]:
    """Read from a file's header how its student samples; {} if it is no student's.

    RecipeError if it is damaged, or says what a recipe may not contain.
    """
    return _source_of(path).data


def _source_of(path: Path) -> Source:
    """Read how a student samples, with the checks and limits of a recipe file."""
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > os.path.getsize(path):
                raise ValueError("it is too short")
            if size > _LARGEST:
                raise ValueError(f"its header has {size:,} bytes; at most {_LARGEST:,} are read")
            header = json.loads(file.read(size))
        about = json.loads(header.get("__metadata__", {}).get(ABOUT, "{}"))
        how = about.get(SAMPLING)
        if not how:
            return Source(show(path), {}, {})
        if not (set(how) == set(KEYS) and set(how["sample"].keys()) == set(_SAMPLE)):
            raise ValueError("it does not say how it samples")
        text = json.dumps(how, ensure_ascii=False, allow_nan=False)
        if len(text) > MAX_BYTES:
            raise ValueError(f"how it samples has {len(text):,} characters; at most {MAX_BYTES:,} are read")
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise RecipeError(f"{path}: not a readable student ({reason(error)})") from error
    return parse(text, show(path))  # JSON is YAML


def overlay(weights: str | None, fast: bool | str) -> Source:
    """Return the keys of a recipe that a student samples with, checked. RecipeError where it is none."""
    path = student_file(weights, fast)
    how = _source_of(path)
    if not how.data:
        raise RecipeError(f"fast: {path} is no student: its header does not say how it samples")
    return how


def student_of(recipe: Recipe) -> Path | None:
    """Return the file of the student that a recipe samples with; None: it has none."""
    return student_file(recipe.weights, recipe.fast) if recipe.fast else None
