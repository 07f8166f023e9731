"""Real media beside what a recipe trains makes of them, or for their conditions: copies, enlargements, others."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from multigen.datasets import Dataset, Item
from multigen.errors import MediaError
from multigen.evaluation.metrics import Target
from multigen.evaluation.sets import request_of, takes_condition
from multigen.modalities.media import Media
from multigen.model.model import Model
from multigen.model.stages import trained


def copies(model: Model, dataset: Dataset, n: int, seed: int) -> Iterator[Media]:
    """Up to `n` held-out media (training media, if none are held out), each followed by its copy.

    A copy is encoded and decoded; that of medium k has the seed `seed + k`. The prompts end in "original" and "copy".
    """
    for k, item in enumerate(_items(dataset, n)):
        name = item.get("text") or item["id"]
        media = item["media"][None].to(model.device)
        with torch.no_grad():
            copy = model.codec.decode(model.codec.encode(media), seed=seed + k)[0].float().cpu()
        yield Media(item["media"], model.modality, f"{name}, original", seed + k)
        yield Media(copy.clamp(-1, 1), model.modality, f"{name}, copy", seed + k)


def _items(dataset: Dataset, n: int) -> Iterator[Item]:
    train, held_out = dataset.split()
    indices = list(held_out) or list(train)
    for index in indices[:: max(len(indices) // n, 1)][:n]:
        try:
            yield dataset[index]
        except MediaError:  # named by the dataset or in training
            continue


def enlargements(model: Model, dataset: Dataset, n: int, seed: int) -> Iterator[Media]:
    """As `copies`, each made by a cascade's network of what the stage before would have made of the original."""
    cascade = trained(model.cascade)
    assert cascade is not None
    for k, item in enumerate(_items(dataset, n)):
        name = item.get("text") or item["id"]
        small = cascade.reduced(item["media"][None])[0]
        yield Media(item["media"], model.modality, f"{name}, original", seed + k)
        (made,) = model.edit(small, seed=seed + k)
        yield Media(made.tensor, model.modality, f"{name}, copy", seed + k)


def followed(model: Model, dataset: Dataset, n: int, seed: int) -> Iterator[Media]:
    """As `copies`, each made for the condition of the original; nothing where model or dataset has no conditions."""
    if not takes_condition(model):
        return
    for k, item in enumerate(_items(dataset, n)):
        if "condition" not in item:
            return
        target = Target(item.get("text", ""), item["id"], item.get("label"), item["condition"])
        name = item.get("text") or item["id"]
        (made,) = model.stream(request_of(model, target), seed=seed + k)
        yield Media(item["media"], model.modality, f"{name}, original", seed + k)
        yield Media(made.tensor, model.modality, f"{name}, for the same condition", seed + k)
