"""Labelled data sets: media of each class in sub-folders, as the recipe `image_folder` and its like read them."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from multigen.errors import MultigenError
from multigen.generation.request import Request
from multigen.model.model import Model
from multigen.progress import Progress
from multigen.recipe.manifest import read as read_manifest
from multigen.runs.asked import asked as describe
from multigen.runs.media import Made, batched, make_media, under_way
from multigen.runs.media_set import MediaSet
from multigen.storage.claim import claimed
from multigen.storage.lock import is_free

log = logging.getLogger(__name__)


def labelled_set(
    model: Model, folder: Path, per_class: int, common: Request, *, seed: int, quiet: bool = False
) -> Path:
    """Write `per_class` media of each class to `folder`/<class>/, and a manifest; medium k of all has seed + k.

    `common` says how they are made. Each file is written when it is made; the same command goes on with a set that was
    stopped. MultigenError if the model has no classes, or the folder holds anything else.
    """
    classes = model.recipe.conditioner.args.get("classes")
    if not classes:
        raise MultigenError(
            f"--per-class: {model.recipe.name} has no classes, it follows prompts; use --prompt or --prompts FILE"
        )
    suffix = model.recipe.sample.suffix or model.modality.suffix
    names = _folders(classes)
    requests = [dataclasses.replace(common, prompt=label) for label in classes]
    asked = describe(model, "per-class", requests, {"n": per_class, "seed": seed})

    def start(progress: Progress, there: frozenset[int]) -> Iterable[Made]:
        batcher = model.batcher(
            requests, n=per_class, seed=seed, batch=under_way(model), on_progress=lambda _: progress.called()
        )
        for one in batched(batcher, progress, there):
            row, number = divmod(one.place, per_class)
            yield one._replace(name=f"{names[row]}/{number:05d}{suffix}")

    if read_manifest(folder) is None and not is_free(folder):
        raise MultigenError(f"--out {folder}: is not empty; give a new folder")
    with claimed(folder) as claim:
        kept = MediaSet(model, claim, asked, per_class * len(classes), steps=common.steps)
        make_media(kept, model, start, quiet=quiet)
    log.info("%d media of %d classes in %s", kept.total, len(classes), folder)
    return folder


def _folders(classes: Sequence[str]) -> list[str]:
    """A distinct folder name for each class, valid on every file system."""
    plain = [re.sub(r"[^\w.-]+", "-", str(label)).strip("-.") or "class" for label in classes]
    return [name if plain.count(name) == 1 else f"{name}-{k}" for k, name in enumerate(plain)]
