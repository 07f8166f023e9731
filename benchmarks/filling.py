"""Filling with a network that has a mask channel (`masked=true`) against one that has none, after as many steps.

Two small networks learn digits from nothing, with the same settings, samples and noise. Then each fills the hidden part
of held-out digits (their right half, their lower half, or a block of 14 x 14 pixels in their middle) without being told
the class. `error`: root mean square of the hidden part's pixels from the true ones, of full scale, means over digits;
`at the seam`: of those within 2 pixels of what is kept; `class`: share in which a classifier, trained on real digits,
sees the digit that it was. `resample`: how often each step is taken (RePaint), the other way to make the two agree.
First row: nothing is kept, and the digit is drawn anew; last: the true digits. Seven minutes on one core.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import multigen
from benchmarks.__main__ import table
from benchmarks.augmentation import batches
from multigen.evaluation.metrics.picture_classifier import accuracy, train_classifier
from multigen.generation.masks import depth
from multigen.generation.request import EditRequest, Request
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.recipe.load import load_recipe
from multigen.runs.train import train

SMALL = [
    "weights=null",
    "backbone.widths=[32,64]",
    "guide.name=plain",
    "train.minutes=null",
    "train.batch=32",
]


def measure(steps: int = 800, digits: int = 100) -> list[dict[str, Any]]:
    """A row for each network and number of resamplings, over `digits` held-out digits with each of three masks."""
    models = {}
    with tempfile.TemporaryDirectory() as folder:
        for masked in (False, True):
            settings = [*SMALL, f"train.steps={steps}", f"masked={str(masked).lower()}"]
            out = train(load_recipe("image_digits", settings), out=Path(folder, str(masked)), quiet=True)
            models[masked] = multigen.load(str(out), device="cpu")
    data = build_dataset(models[False].recipe, models[False].modality)
    _, held = data.split()
    items = [data[i] for i in list(held)[:digits]]
    media, labels = torch.stack([i["media"] for i in items]), [i.get("label") for i in items]
    masks = _masks(tuple(media.shape[2:]))
    known = [data[i] for i in data.split()[0]]
    real = torch.stack([i["media"] for i in known]), torch.tensor([i["label"] for i in known])
    judge = train_classifier(batches([real], 0), len(data.classes), 600)

    def row(network: str, filled: Sequence[Tensor], resample: int | None = None) -> dict[str, Any]:
        apart = [_errors(one, media, keep) for one, keep in zip(filled, masks, strict=True)]
        error, seam = (torch.stack(found).mean().item() for found in zip(*apart, strict=True))
        seen = accuracy(judge, list(torch.cat(list(filled))), labels * len(masks)).value
        return {"network": network, "resample": resample, "error": round(error, 3),
                "at the seam": round(seam, 3), "class": round(float(seen), 3)}  # fmt: skip

    rows = [row("nothing kept", [_made(models[False], digits)] * len(masks))]
    for masked, model in models.items():
        name = f"{'with' if masked else 'without'} a mask channel"
        rows += [row(name, [_filled(model, media, keep, k) for keep in masks], k) for k in (1, 4)]
    return [*rows, row("true digits", [media] * len(masks))]


def _masks(size: tuple[int, ...]) -> list[Tensor]:
    """bool [H, W], True where the digit stays."""
    height, width = size
    right, lower, middle = (torch.ones(size, dtype=torch.bool) for _ in range(3))
    right[:, width // 2 :] = False
    lower[height // 2 :] = False
    middle[height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    return [right, lower, middle]


def _made(model: Model, count: int) -> Tensor:
    return torch.stack([m.tensor for m in model.generate("", n=count, seed=0, batch=50)])


def _filled(model: Model, media: Tensor, keep: Tensor, resample: int) -> Tensor:
    """Each medium [N, C, H, W] with its hidden part made, from a seed of its own, all side by side."""
    wishes = [
        Request(seed=k, edit=EditRequest(one, keep=keep, feather=0, resample=resample))
        for k, one in enumerate(media)
    ]
    made = dict(model.batcher(wishes, batch=50))
    return torch.stack([made[k].tensor for k in range(len(media))])


def _errors(filled: Tensor, media: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Root mean squares of the hidden part and of what of it lies at the seam, [N] each; full scale is 2."""
    square = (filled - media).square().mean(1) / 4
    near = ~keep & (depth(~keep, 3) < 3)
    return square[:, ~keep].mean(1).sqrt(), square[:, near].mean(1).sqrt()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=800, help="training steps of each network")
    parser.add_argument("--digits", type=int, default=100, help="held-out digits, with each of three masks")
    given = parser.parse_args()
    print(table(measure(given.steps, given.digits)))
