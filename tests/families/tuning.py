"""Small trainings on the tiny pipelines of `folders` and `moving`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch

from multigen.modalities import Modality
from multigen.model.source import find
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Recipe
from multigen.registry import Part, build
from tests.families.test_families import ROWS

QUICK = [
    "train.steps=2", "train.batch=2", "train.lr=1e-2", "train.warmup=0", "train.ema_decay=0", "train.precision=fp32",
    "train.held_out_every=0", "train.preview_every=0", "train.tensorboard=false", "data.held_out=0", "weights=null",
    "data.captions=none", "train.log_every=1",
]  # fmt: skip


def images(folder: Path, modality: Modality, n: int = 2) -> Path:
    """Media of noise in a folder."""
    folder.mkdir(parents=True)
    for k in range(n):
        media = (
            torch.randn(modality.shape(), generator=torch.Generator().manual_seed(k)).mul(0.4).clamp(-1, 1)
        )
        modality.write(media, folder / f"{k}{modality.suffix}")
    return folder


def tuning(name: str, folder: Path, data: Path, *overrides: str) -> Recipe:
    """The recipe of a training on a family's pipeline, with media in `data`, which are made."""
    row, found = ROWS[name], find(folder)
    part = Part(found.recipe.modality.name, {**found.recipe.modality.args, **row.modality})
    recipe = dataclasses.replace(found.recipe, modality=part, data=Part("folder", {"path": str(data)}))
    if not data.exists():
        images(data, build("modality", part))
    return override_recipe(recipe, [*QUICK, *overrides])
