"""Labelled sets: so many media of each class in sub-folders, as `image_folder` and its like read them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.recipe.manifest import write_manifest


def labelled_set(
    model: Model, folder: Path, per_class: int, *, seed: int, steps: int | None = None, quiet: bool = False
) -> Path:
    """`per_class` media of each class into `folder`/<class>/, and a manifest; medium k of all has the seed `seed + k`.

    All is there or nothing. MultigenError if the model has no classes, or the folder is not empty.
    """
    classes = model.recipe.conditioner.args.get("classes")
    if not classes:
        raise MultigenError(
            f"--per-class: {model.recipe.name} has no classes; it follows prompts: --prompt, or --prompts FILE"
        )
    if folder.exists() and any(p.name != ".lock" for p in folder.iterdir()):
        raise MultigenError(f"--out {folder}: is there already and not empty; give a new folder")
    suffix = model.recipe.sample.suffix or model.modality.suffix
    names = _folders(classes)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    rows = []
    stream = model.stream([Request(label, steps=steps) for label in classes], n=per_class, seed=seed)
    total = per_class * len(classes)
    for k, medium in enumerate(tqdm(stream, "sample", total, unit=" media", disable=quiet, mininterval=1)):
        place = partial / names[k // per_class] / f"{k % per_class:05d}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        medium.save(place)
        file = place.relative_to(partial).as_posix()
        rows.append({"file": file, "prompt": medium.prompt, "seed": medium.seed})
    how = {"sampler": model.recipe.sampler.name, "steps": steps or model.recipe.sample.steps}
    write_manifest(partial, rows, recipe=model.recipe, weights_hash=model.weights_hash(), settings=how)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(partial.iterdir()):
        path.replace(folder / path.name)
    partial.rmdir()
    return folder


def _folders(classes: Sequence[str]) -> list[str]:
    """A folder name for each class, that every file system takes, no two the same."""
    plain = [re.sub(r"[^\w.-]+", "-", str(label)).strip("-.") or "class" for label in classes]
    return [name if plain.count(name) == 1 else f"{name}-{k}" for k, name in enumerate(plain)]
