"""Pruning a trained model: which weights matter is measured on its training data, and a short training mends the rest.

The recovery is an ordinary training (`runs.jobs.train`) of the narrower network from what pruning left.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from multigen.backbones.pruning import heads_of, prune
from multigen.backbones.unet import UNet
from multigen.datasets import Dataset
from multigen.errors import MultigenError
from multigen.model.build import build_dataset
from multigen.model.model import Model
from multigen.model.source import run_weights
from multigen.recipe.load import override_recipe
from multigen.recipe.schema import Launch, Recipe
from multigen.registry import Part
from multigen.runs import jobs
from multigen.runs.trainer import build_task
from multigen.training import sizes as training_sizes
from multigen.training.batch import Order
from multigen.training.loader import one_batch
from multigen.training.task import MODEL

log = logging.getLogger(__name__)

_BATCHES = 8  # of training media, on which importance is measured


def importance(model: Model, dataset: Dataset) -> dict[str, Tensor]:
    """What each weight of the backbone matters: the mean of (g w)^2 over batches of its training; see `pruning`."""
    recipe = model.recipe
    sizes = training_sizes.sizes(recipe.train, model.modality, model.codec, recipe.seed)
    model.recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, distill=None))
    try:  # what it learned from its data counts, however it learned it
        task = build_task(model, dataset, sizes=sizes)
    finally:
        model.recipe = recipe
    batch_size = 16 if recipe.train.batch == "auto" else recipe.train.batch
    order = Order(dataset.split()[0], batch_size, recipe.seed)
    weights = dict(model.denoiser.backbone.named_parameters())
    found = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    with task.training():
        for step in range(_BATCHES):
            batch = one_batch(dataset, order, step, range(order.batch), sizes)
            for name, parts in task.losses(batch, step, 0.0):
                if name == MODEL:
                    torch.stack(list(parts)).sum().backward()
                    for key, weight in weights.items():
                        if weight.grad is not None:
                            found[key] += (weight.grad * weight.detach()).square() / _BATCHES
                            weight.grad = None
    for parameter in task.networks[MODEL].parameters():
        parameter.grad = None
    return found


def pruned(model: Model, share: float) -> tuple[Recipe, dict[str, Tensor]]:
    """The recipe of a narrower network and all weights of the model, its backbone's pruned by `share`.

    MultigenError for another network than our U-Net, and for a share that its heads do not allow.
    """
    network, recipe = model.denoiser.backbone, model.recipe
    weights = {name: p.detach().square() for name, p in network.named_parameters()}
    if isinstance(network, UNet):
        weights = importance(model, build_dataset(recipe, model.modality))
    left = prune(network, share, weights)
    args = {**recipe.network.args, "widths": list(left.widths), "embedding": left.embedding}
    smaller = dataclasses.replace(recipe, weights=None, backbone=Part(recipe.network.name, args))
    narrow = Model(smaller, device="cpu").denoiser.backbone
    assert isinstance(narrow, UNet) and isinstance(network, UNet)
    if not set(heads_of(narrow).values()) <= set(heads_of(network).values()):
        raise MultigenError(
            f"prune: {share:g} leaves widths {list(left.widths)}, whose attention has heads of another width than "
            "before; give another share"
        )
    rest = {k: v for k, v in model.state_dict().items() if not k.startswith("backbone.")}
    return smaller, {**rest, **{f"backbone.{k}": v for k, v in left.state.items()}}


def recovered(
    recipe: Recipe,
    start: Path,
    *,
    folder: Path,
    minutes: float,
    overrides: Sequence[str],
    device: str | None,
    quiet: bool,
) -> dict[str, Tensor]:
    """Train from the pruned weights at `start` for some minutes; the averaged weights. The run stays in `folder`."""
    settings = dataclasses.replace(
        recipe.train,
        minutes=minutes,
        steps=None,
        init=str(start),
        preview_every=0,
        adapter=None,
        distill=None,
    )
    changed = override_recipe(dataclasses.replace(recipe, train=settings, launch=Launch()), overrides)
    log.info("%s: recovers for %g minutes in %s", recipe.name, minutes, folder)
    jobs.train(changed, out=folder, device=device, quiet=quiet)
    return run_weights(folder)
