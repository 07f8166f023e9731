"""Labelled data sets: media of each class in sub-folders, as the recipe `image_folder` and its like read them."""

from __future__ import annotations

import dataclasses
import logging
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.recipe.manifest import write_manifest

log = logging.getLogger(__name__)


def labelled_set(
    model: Model, folder: Path, per_class: int, common: Request, *, seed: int, quiet: bool = False
) -> Path:
    """Write `per_class` media of each class to `folder`/<class>/, and a manifest; medium k of all has seed + k.

    `common` says how they are made. The folder appears when all of them are made. MultigenError if the model has no
    classes, or the folder is not empty.
    """
    classes = model.recipe.conditioner.args.get("classes")
    if not classes:
        raise MultigenError(
            f"--per-class: {model.recipe.name} has no classes, it follows prompts; use --prompt or --prompts FILE"
        )
    if folder.exists() and any(p.name != ".lock" for p in folder.iterdir()):
        raise MultigenError(f"--out {folder}: is not empty; give a new folder")
    suffix = model.recipe.sample.suffix or model.modality.suffix
    names = _folders(classes)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    rows = []
    requests, total = (
        [dataclasses.replace(common, prompt=label) for label in classes],
        per_class * len(classes),
    )
    with Progress("sample", total, quiet=quiet) as progress:
        batcher = model.batcher(requests, n=per_class, seed=seed, on_progress=lambda _: progress.called())
        progress.expect(batcher.calls, total)
        for k, medium in enumerate(batcher.in_order()):
            place = partial / names[k // per_class] / f"{k % per_class:05d}{suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            medium.save(place)
            progress.advance()
            file = place.relative_to(partial).as_posix()
            rows.append({"file": file, "prompt": medium.prompt, "seed": medium.seed})
    how = {"sampler": model.recipe.sampler.name, "steps": common.steps or model.recipe.sample.steps}
    write_manifest(partial, rows, recipe=model.recipe, weights_hash=model.weights_hash(), settings=how)
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(partial.iterdir()):
        path.replace(folder / path.name)
    partial.rmdir()
    log.info("%d media of %d classes in %s", total, len(classes), folder)
    return folder


def _folders(classes: Sequence[str]) -> list[str]:
    """A distinct folder name for each class, valid on every file system."""
    plain = [re.sub(r"[^\w.-]+", "-", str(label)).strip("-.") or "class" for label in classes]
    return [name if plain.count(name) == 1 else f"{name}-{k}" for k, name in enumerate(plain)]
