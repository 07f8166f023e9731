"""The weights that a training begins from, and the codec's statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from multigen.codecs.kl_vae import KLVAE
from multigen.datasets import Dataset, Item
from multigen.errors import MediaError, RecipeError
from multigen.model.model import Model
from multigen.model.weights import base_hashes, base_of
from multigen.training.adapting import Adaptation

# Training media from which the codec's statistics are taken.
FIT_ITEMS = 400


def initialize(model: Model, dataset: Dataset, init: dict[str, Tensor] | None) -> None:
    """Set the weights from `train.init`, or the codec's statistics from the training media."""
    if init is not None:
        where = f"train.init ({model.recipe.train.init})"
        _check_latents(model, init, where)
        model.start_from(init, where)
        return
    fit_statistics(model, dataset)


def freeze(model: Model, init: dict[str, Tensor] | None, adapter: Adaptation) -> dict[str, str]:
    """Freeze the base's weights and put the adapter beside them; the hashes of the base."""
    if init is not None:
        model.load_weights(init, f"train.init ({model.recipe.train.init})")
    base = base_hashes(base_of(model.learned), pretrained=model.denoiser.backbone.pretrained)
    for module in model.learned.values():
        module.requires_grad_(False)
    adapter.inject(model.denoiser.backbone, model.conditioner, model.recipe.seed)
    return base


def _check_latents(model: Model, init: dict[str, Tensor], where: str) -> None:
    """RecipeError if `init` was trained in the latents of another VAE than the recipe names."""
    codec = model.codec
    if not isinstance(codec, KLVAE) or codec.learns or not codec.named:
        return
    for name, own in codec.network.state_dict().items():
        there = init.get(f"codec.network.{name}")
        if there is None or there.shape != own.shape:
            return  # another model, which `start_from` refuses
        # Weights may have been halved.
        if not torch.allclose(there.float(), own.float().to(there.device), rtol=1e-2, atol=1e-3):
            raise RecipeError(
                f"{where}: it was trained in the latents of another VAE than codec.weights names "
                f"({model.recipe.codec.args.get('weights')}). Name that VAE, or start without train.init."
            )


def fit_statistics(model: Model, dataset: Dataset) -> None:
    """Set the statistics of codec and conditioner from training items."""
    indices, _ = dataset.split()
    stride = max(len(indices) // FIT_ITEMS, 1)
    some = list(indices)[::stride][:FIT_ITEMS]
    model.codec.fit(item["media"] for item in readable(dataset, some))
    model.conditioner.fit(readable(dataset, some))


def readable(dataset: Dataset, indices: Sequence[int]) -> Iterator[Item]:
    """The items that can be read."""
    for index in indices:
        try:
            yield dataset[index]
        except MediaError:  # training names it when it meets it
            continue
